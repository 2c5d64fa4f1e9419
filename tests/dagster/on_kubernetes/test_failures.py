"""When a pod cannot do its work, the error names the cause within a minute."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import pytest
from api_server import ApiServer
from cluster import Cluster
from dagster_runs import SYNC, Result, run_job
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model
from waiting import wait_until

from tobikodata.scheduler_facades.dagster._kubernetes import pod_watch


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pod_watch.STUCK_LIMIT_S + 2 * pod_watch.MAX_POLL_INTERVAL_BEFORE_START_S < 60
    monkeypatch.setattr(pod_watch, "STUCK_LIMIT_S", 1.5)


@pytest.fixture
def project(kube_cloud: Cloud) -> Cloud:
    """A run in progress: a mirror of it does not end by itself."""
    kube_cloud.environment(model("a"))
    kube_cloud.run("r1").started("a")
    return kube_cloud


@contextmanager
def meanwhile(work: Callable[[], Any]) -> Iterator[None]:
    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()


def why(result: Result) -> str:
    """Everything that the run shows of its failure."""
    assert result.status == "FAILURE"
    errors = [entry.dagster_event.step_failure_data.error for entry in result.events("STEP_FAILURE")]
    return " ".join([result.run_failure(), result.log(), *(str(error.to_string()) for error in errors if error)])


@pytest.mark.usefixtures("project")
def test_an_image_that_cannot_be_pulled(load_on: Any, instance: Any, cluster: Cluster) -> None:
    result = run_job(load_on({"image": "no.such/image:1"}), instance)
    assert 'Back-off pulling image "no.such/image:1"' in why(result) or "ErrImagePull" in why(result)
    assert "not found" in why(result)
    assert "check the image" in why(result)
    wait_until(lambda: not cluster.pods())


@pytest.mark.usefixtures("project")
def test_a_missing_secret(load_on: Any, instance: Any, cluster: Cluster) -> None:
    cluster.no_secret()
    result = run_job(load_on(), instance)
    assert 'secret "tobiko-cloud" not found' in why(result)
    wait_until(lambda: not cluster.pods())


@pytest.mark.usefixtures("project")
def test_a_secret_that_is_created_in_time_is_waited_for(
    project: Cloud, load_on: Any, instance: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_watch, "STUCK_LIMIT_S", 20)
    cluster.no_secret()

    def later() -> None:
        wait_until(lambda: any(_waits(pod) == "CreateContainerConfigError" for pod in cluster.pods()))
        cluster.secret(TCLOUD_CLIENT_ID=CLIENT_ID, TCLOUD_CLIENT_SECRET=CLIENT_SECRET)

    with meanwhile(later):
        result = run_job(load_on(), instance, SYNC)
    assert result.success, result.log()


@pytest.mark.parametrize(
    ("verb", "resource"), [("create", "pods"), ("list", "pods"), ("get", "pods/log")], ids="{0[0]} {0[1]}".format
)
@pytest.mark.usefixtures("project")
def test_a_missing_permission(stand_in: ApiServer, load_on: Any, instance: Any, verb: str, resource: str) -> None:
    stand_in.forbidden.add((verb, resource))
    result = run_job(load_on(), instance)
    assert f'cannot {verb} resource "{resource}"' in why(result)
    assert 'in the namespace "dagster"' in why(result)
    assert "give its service account the Role" in why(result)
    wait_until(lambda: not any(pod.running for pod in list(stand_in.pods.values())))


@pytest.mark.usefixtures("project")
def test_without_permission_to_list_events_the_cause_is_reported_without_them(
    stand_in: ApiServer, load_on: Any, instance: Any
) -> None:
    stand_in.forbidden.add(("list", "events"))
    result = run_job(load_on({"image": "no.such/image:1"}), instance)
    assert "no.such/image:1" in why(result)
    assert 'cannot list resource "events"' in why(result)


def test_without_permission_to_delete_pods_the_orphaned_one_is_named(
    kube_cloud: Cloud, stand_in: ApiServer, load_on: Any, instance: Any
) -> None:
    kube_cloud.environment(model("a"))
    stand_in.forbidden.add(("delete", "pods"))
    result = run_job(load_on(), instance, SYNC)
    assert result.success
    ((_, name),) = stand_in.pods
    assert f"the pod {name} in namespace dagster could not be deleted" in result.log()
    assert 'cannot delete resource "pods"' in result.log()


@pytest.mark.parametrize(
    ("harm", "cause"),
    [
        ("out_of_memory", "OOMKilled"),
        ("evict", "Kubernetes evicted the pod (Evicted: The node was low on resource: memory."),
        ("kill", "was terminated by SIGKILL"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_pod_that_is_ended(
    cluster: Cluster, stand_in: ApiServer, load_on: Any, instance: Any, harm: str, cause: str
) -> None:
    def do() -> None:
        pod = cluster.running_pod()
        getattr(stand_in.pods["dagster", pod.metadata.name], harm)()

    with meanwhile(do):
        result = run_job(load_on(), instance)
    assert cause in why(result)
    # Its end may come before the executable has named the remote run.
    assert "was interrupted" in why(result) or "no remote run was mirrored" in why(result)


@pytest.mark.parametrize("harm", ["delete", "evict"])
@pytest.mark.usefixtures("project")
def test_a_pod_that_is_removed(cluster: Cluster, load_on: Any, instance: Any, harm: str) -> None:
    with meanwhile(lambda: getattr(cluster, harm)(cluster.running_pod())):
        result = run_job(load_on(), instance)
    is_named = harm == "evict" and cluster.names_disruptions
    assert ("EvictionByEvictionAPI: Eviction API: evicting" if is_named else "deleted from outside") in why(result)


@pytest.mark.usefixtures("project")
def test_a_pod_past_its_deadline(load_on: Any, instance: Any) -> None:
    result = run_job(load_on({"base_pod_spec": {"activeDeadlineSeconds": 2}}), instance)
    assert "DeadlineExceeded" in why(result)


@pytest.mark.usefixtures("project")
def test_an_image_without_the_executable(stand_in: ApiServer, load_on: Any, instance: Any, folder: Path) -> None:
    stand_in.images["empty"] = folder
    result = run_job(load_on({"image": "empty"}), instance)
    assert 'exec: "tobiko-facade": executable file not found' in why(result)


@pytest.mark.usefixtures("project")
def test_an_executable_that_fails_before_the_first_poll(
    stand_in: ApiServer, load_on: Any, instance: Any, folder: Path
) -> None:
    script = folder / "tobiko-facade"
    script.write_text("#!/bin/sh\necho 'error: no luck today' >&2\nexit 3\n")
    script.chmod(script.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH | stat.S_IXUSR)
    stand_in.images["broken"] = folder
    result = run_job(load_on({"image": "broken"}), instance)
    assert "no luck today" in why(result)


@pytest.mark.usefixtures("project")
def test_a_short_outage_of_the_api_server_is_tolerated(
    kube_cloud: Cloud, cluster: Cluster, stand_in: ApiServer, load_on: Any, instance: Any
) -> None:
    run = kube_cloud.run("r2")

    def do() -> None:
        cluster.running_pod()
        stand_in.outage.extend([503, 500, 429, 503])
        run.evaluated("a")
        run.end()

    with meanwhile(do):
        result = run_job(load_on(), instance, **{"tobiko/run_id": "r2"})
    assert result.success, result.log()


def test_an_api_server_that_cannot_be_reached(
    kube_cloud: Cloud, stand_in: ApiServer, load_on: Any, instance: Any
) -> None:
    kube_cloud.environment(model("a"))
    defs = load_on()
    stand_in.stop()
    result = run_job(defs, instance, SYNC)
    assert "no pod could be created: the Kubernetes API cannot be reached" in why(result)


def test_an_unknown_namespace(kube_cloud: Cloud, load_on: Any, instance: Any) -> None:
    kube_cloud.environment(model("a"))
    result = run_job(load_on({"namespace": "no-such-namespace"}), instance, SYNC)
    assert 'namespaces "no-such-namespace" not found' in why(result)


def test_a_missing_kubeconfig(kube_cloud: Cloud, load_on: Any, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kube_cloud.environment(model("a"))
    result = run_job(load_on({"kubeconfig_file": "/no/such/file"}), instance, SYNC)
    assert "no pod could be created: Invalid kube-config file" in why(result)


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that the pod's user may read."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def _waits(pod: Any) -> str | None:
    (status,) = pod.status.container_statuses
    return status.state.waiting.reason if status.state.waiting else None
