"""The cluster of the tests: a stand-in, or the real one that KUBECONFIG_TEST names.

A real one needs KUBERNETES_TEST_IMAGE, which it can pull; KUBERNETES_TEST_HOST, the address of this machine that its
pods can reach; and a namespace, KUBERNETES_TEST_NAMESPACE, default `dagster`, in which these tests create and delete
pods and Secrets.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import kubernetes
from api_server import ApiServer
from waiting import wait_until

SECRET = "tobiko-cloud"
REAL = os.environ.get("KUBECONFIG_TEST")


class Cluster:
    def __init__(self, kubeconfig: Path, image: str, stand_in: ApiServer | None) -> None:
        self.kubeconfig = kubeconfig
        self.namespace = os.environ.get("KUBERNETES_TEST_NAMESPACE", "dagster") if stand_in is None else "dagster"
        self.image = image
        self.stand_in = stand_in
        self.api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(kubeconfig)))

    @property
    def names_disruptions(self) -> bool:
        """Whether an evicted pod says so: since Kubernetes 1.26; before, it is deleted like any other."""
        if self.stand_in is not None:
            return True
        version = kubernetes.client.VersionApi(self.api.api_client).get_code()
        return (int(version.major), int(version.minor.rstrip("+"))) >= (1, 26)

    def launcher(self, **options: Any) -> Any:
        from tobikodata.scheduler_facades.dagster import KubernetesLauncher

        given = {
            "image": self.image,
            "namespace": self.namespace,
            "secret_name": SECRET,
            "kubeconfig_file": str(self.kubeconfig),
            "poll_interval": 0.5,
        }
        return KubernetesLauncher(**{**given, **options})

    def secret(self, **values: str) -> None:
        self.no_secret()
        body = {"metadata": {"name": SECRET}, "stringData": values}
        self.api.create_namespaced_secret(self.namespace, body)

    def no_secret(self) -> None:
        with contextlib.suppress(kubernetes.client.ApiException):
            self.api.delete_namespaced_secret(SECRET, self.namespace)

    def pods(self) -> list[Any]:
        return [
            pod
            for pod in self.api.list_namespaced_pod(self.namespace).items
            if (pod.metadata.labels or {}).get("app.kubernetes.io/component") == "tobiko-facade"
        ]

    def running_pod(self) -> Any:
        """The only pod, as soon as it runs and has logged something."""

        def running() -> Any:
            for pod in self.pods():
                if pod.status.phase == "Running" and not pod.metadata.deletion_timestamp and "opened" in self.log(pod):
                    return pod
            return None

        return wait_until(running, 60)

    def log(self, pod: Any) -> str:
        try:
            return str(
                self.api.read_namespaced_pod_log(
                    pod.metadata.name, self.namespace, _preload_content=False
                ).data.decode()
            )
        except kubernetes.client.ApiException:
            return ""

    def delete(self, pod: Any) -> None:
        self.api.delete_namespaced_pod(pod.metadata.name, self.namespace)

    def evict(self, pod: Any) -> None:
        body = {"metadata": {"name": pod.metadata.name, "namespace": self.namespace}}
        self.api.create_namespaced_pod_eviction(pod.metadata.name, self.namespace, body)

    def clear(self) -> None:
        for pod in self.pods():
            with contextlib.suppress(kubernetes.client.ApiException):
                self.api.delete_namespaced_pod(pod.metadata.name, self.namespace, grace_period_seconds=0)
        self.no_secret()
