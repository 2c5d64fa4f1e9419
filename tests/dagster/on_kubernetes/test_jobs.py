"""The same jobs, with the executable in a pod."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from api_server import ApiServer
from cluster import Cluster
from dagster_runs import SYNC, check_status, run_in_process, run_job
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model
from waiting import wait_until


def test_a_mirror_streams(kube_cloud: Cloud, load_on: Any, instance: Any) -> None:
    """The step of the first task to end has ended before the last remote task ends."""
    kube_cloud.environment(model("first", audits=("not_null",)), model("last", "first"))
    run = kube_cloud.run("r1")
    ended: dict[str, float] = {}

    def scheduler() -> None:
        run.started("first")
        run.audited("first", "not_null")
        run.ended("first")
        wait_until(lambda: "wh_s_first" in _ended_steps(instance), 60)
        run.evaluated("last")
        ended["last"] = time.time()
        run.end()

    thread = threading.Thread(target=scheduler)
    thread.start()
    result = run_job(load_on(), instance)
    thread.join()
    assert result.success, result.log()
    (first,) = result.events("STEP_SUCCESS", "wh_s_first")
    assert first.timestamp < ended["last"]
    assert set(result.materializations()) == {"wh/s/first", "wh/s/last"}
    assert check_status(instance, "wh/s/first", "not_null") == "SUCCEEDED"


def test_a_sync_copies_the_state_and_leaves_no_pod(
    kube_cloud: Cloud, cluster: Cluster, load_on: Any, instance: Any
) -> None:
    kube_cloud.environment(model("a", audits=("not_null",)))
    run = kube_cloud.run("r1")
    run.evaluated("a", "not_null")
    run.end()
    result = run_job(load_on(), instance, SYNC)
    assert result.success, result.log()
    assert set(result.materializations()) == {"wh/s/a"}
    assert "launched in pod dagster-" in result.log()
    wait_until(lambda: not cluster.pods())


def test_under_another_executor_each_op_has_its_pod(kube_cloud: Cloud, load_on: Any, instance: Any) -> None:
    kube_cloud.environment(model("a"), model("b", "a"))
    run = kube_cloud.run("r1")
    run.evaluated("a")
    run.evaluated("b", status="failed", message="division by zero")
    run.end("failed", "b failed")
    result = run_in_process(load_on(), instance)
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    assert "division by zero" in result.failure("wh_s_b").description
    assert "[pipes] did not receive" not in result.log()


def test_the_pod_is_locked_down_and_holds_no_secret(
    kube_cloud: Cloud, stand_in: ApiServer, load_on: Any, instance: Any, home: Path, capfd: Any
) -> None:
    kube_cloud.environment(model("a"))
    run = kube_cloud.run("r1")
    run.evaluated("a")
    run.end()
    result = run_job(load_on(oauth_client_id=CLIENT_ID, oauth_client_secret=CLIENT_SECRET), instance)
    assert result.success, result.log()
    (pod,) = stand_in.created
    text = json.dumps(pod)
    assert CLIENT_SECRET not in text
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["activeDeadlineSeconds"] == 86_400
    (container,) = spec["containers"]
    assert container["command"][:2] == ["tobiko-facade", "mirror"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["envFrom"] == [{"secretRef": {"name": "tobiko-cloud"}}]
    assert pod["metadata"]["labels"]["dagster/run-id"] == result.run_id
    printed = capfd.readouterr()
    assert CLIENT_SECRET not in printed.out + printed.err + result.log()
    for path in home.rglob("*"):
        if path.is_file():
            assert CLIENT_SECRET.encode() not in path.read_bytes(), path


def _ended_steps(instance: Any) -> set[str]:
    runs = instance.get_runs(limit=1)
    if not runs:
        return set()
    return {
        entry.step_key
        for entry in instance.all_logs(runs[0].run_id)
        if entry.dagster_event and entry.dagster_event.event_type_value == "STEP_SUCCESS"
    }
