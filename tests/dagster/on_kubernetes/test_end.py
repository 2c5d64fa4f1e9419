"""No pod outlives its job: cancelled runs, killed workers, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from api_server import ApiServer
from cluster import Cluster
from dagster_runs import Result, run_job
from kubelet import may_unshare
from recorded_cloud import Cloud, model
from waiting import wait_until


@pytest.fixture
def run_in_progress(kube_cloud: Cloud) -> Any:
    kube_cloud.environment(model("a"))
    run = kube_cloud.run("r1")
    run.started("a")
    return run


@pytest.mark.usefixtures("run_in_progress")
def test_terminated_in_dagster_deletes_the_pod_within_10_s(cluster: Cluster, load_on: Any, instance: Any) -> None:
    asked: list[float] = []
    gone: list[float] = []

    def cancel() -> None:
        cluster.running_pod()
        wait_until(lambda: "STEP_START" in _kinds(instance))
        asked.append(time.monotonic())
        instance.report_run_canceling(instance.get_runs()[0])
        os.kill(os.getpid(), signal.SIGINT)
        wait_until(lambda: not cluster.pods())
        gone.append(time.monotonic())

    thread = threading.Thread(target=cancel)
    thread.start()
    result = run_job(load_on(), instance)
    thread.join()
    assert result.status == "CANCELED", result.log()
    assert gone[0] - asked[0] < 10


@pytest.mark.usefixtures("run_in_progress")
def test_sigterm_ends_the_executable_at_once_as_process_1(
    cluster: Cluster, stand_in: ApiServer, load_on: Any, instance: Any
) -> None:
    took: list[float] = []

    def terminate() -> None:
        name = cluster.running_pod().metadata.name
        pod = stand_in.pods["dagster", name]
        assert pod.pid
        status = Path(f"/proc/{pod.pid}/status").read_text()
        if may_unshare("--pid"):
            assert "\nNSpid:\t" in status
            assert status.split("\nNSpid:\t")[1].split("\n")[0].split()[-1] == "1", "it is not process 1"
            assert "\nUid:\t65532\t" in status
        before = time.monotonic()
        os.kill(pod.pid, signal.SIGTERM)
        wait_until(lambda: not pod.running)
        took.append(time.monotonic() - before)

    thread = threading.Thread(target=terminate)
    thread.start()
    result = run_job(load_on(), instance)
    thread.join()
    assert took[0] < 1
    failure = result.run_failure()
    assert "not everything could be reported" in failure
    assert "interrupted" in failure


WORKER = """
import os
import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from tobikodata.scheduler_facades.dagster import KubernetesLauncher, SQLMeshEnterpriseDagster

launcher = KubernetesLauncher(
    os.environ["IMAGE"], namespace=os.environ["NAMESPACE"], secret_name="tobiko-cloud", kubeconfig_file=os.environ["KUBE"],
    poll_interval=0.5, base_pod_spec={"activeDeadlineSeconds": int(os.environ["DEADLINE_S"])},
)
sqlmesh = SQLMeshEnterpriseDagster(url=os.environ["TCLOUD_BASE_URL"], launcher=launcher)
job = sqlmesh.create_definitions().get_job_def("tobiko_cloud_mirror_run_prod")
with dg.DagsterInstance.get() as instance:
    run = instance.create_run_for_job(job, tags=job.run_tags)
    execute_run(InMemoryJob(job), run, instance)
"""


@pytest.mark.parametrize(("deadline_s", "remote_run_ends"), [(3600, True), (5, False)])
def test_a_worker_that_is_killed_leaves_a_pod_that_ends_by_itself(
    run_in_progress: Any, cluster: Cluster, load_on: Any, deadline_s: int, remote_run_ends: bool
) -> None:
    """When the remote run ends, or at the latest at the pod's deadline. The next launch deletes it."""
    environ = {
        **os.environ,
        "IMAGE": cluster.image,
        "NAMESPACE": cluster.namespace,
        "KUBE": str(cluster.kubeconfig),
        "DEADLINE_S": str(deadline_s),
    }
    worker = subprocess.Popen([sys.executable, "-c", WORKER], env=environ)
    try:
        name = cluster.running_pod().metadata.name
    finally:
        worker.kill()
        worker.wait()
    if remote_run_ends:
        run_in_progress.ended("a")
        run_in_progress.end()
    wait_until(lambda: _phase(cluster, name) in ("Succeeded", "Failed"))

    with dg.DagsterInstance.get() as instance:
        (dead,) = instance.get_runs()
        instance.report_run_failed(dead, "its worker is gone")
        result = run_job(load_on(), instance, "tobiko_cloud_sync_prod")
        assert result.success, result.log()
    wait_until(lambda: not cluster.pods())


def _phase(cluster: Cluster, name: str) -> str:
    (pod,) = [pod for pod in cluster.pods() if pod.metadata.name == name]
    return str(pod.status.phase)


def _kinds(instance: Any) -> set[str]:
    runs = instance.get_runs(limit=1)
    if not runs:
        return set()
    return {
        entry.dagster_event.event_type_value
        for entry in Result(instance, runs[0].run_id).entries
        if entry.dagster_event
    }
