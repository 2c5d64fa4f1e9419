"""A mirror while the cloud is away or answers with errors: it loses nothing, and gives up at its limit."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from dagster_runs import Result, check_status, run_job
from scripted_cloud import ScriptedCloud, scripted_cloud

GENERATED = {"models": 12, "layers": 3, "audits_each": 1}
FAILING = "lake.layer_2.model_06"


@pytest.fixture
def cloud(executable: str, fast_folder: Any, monkeypatch: Any) -> Iterator[ScriptedCloud]:
    monkeypatch.setenv("TOBIKO_FACADE_CACHE_DIR", str(fast_folder / "cache"))
    with scripted_cloud(executable, fast_folder, environments=[{"generate": GENERATED}]) as cloud:
        monkeypatch.setenv("TCLOUD_BASE_URL", cloud.base_url)
        cloud.settled()
        yield cloud


@pytest.fixture
def mirror(cloud: ScriptedCloud, load: Any, instance: Any) -> Callable[[str], Result]:
    """The job is loaded before anything goes wrong."""
    defs = load()
    return lambda run_id: run_job(defs, instance, **{"tobiko/run_id": run_id})


def check_complete(result: Result, truth: dict[str, Any]) -> None:
    """Each evaluation is in Dagster as it ended, once."""
    well = {one["evaluation_id"] for one in truth["evaluations"] if one["status"] == "success"}
    materialized = [metadata["Tobiko Cloud Execution Id"] for metadata in result.materializations().values()]
    assert sorted(materialized) == sorted(well)
    assert len(result.checks()) == sum(len(one["audits"]) for one in truth["evaluations"])
    failed = {step for step, end in result.steps().items() if end == "failure"}
    assert failed == {FAILING.replace(".", "_")}
    assert result.tags["tobiko/mirror"] == "complete"


@pytest.mark.parametrize(
    "fault",
    [
        "refuse",
        "drop",
        {"answer": {"status": 503, "body": "html"}},
        {"answer": {"status": 429, "retry_after_s": 1}},
        {"slow_headers": 60},
    ],
    ids=["nobody listens", "dropped", "503", "429", "silence"],
)
def test_a_mirror_survives_an_outage_and_loses_nothing(
    cloud: ScriptedCloud, mirror: Any, monkeypatch: Any, fault: Any
) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "0.8")
    monkeypatch.setenv("TOBIKO_FACADE_REQUEST_LIMIT_S", "0.5")
    run_id = cloud.run(task_s=0.3, nodes={FAILING: "failed"})
    cloud.settled()
    # It begins after the start of the mirror, and outlasts the run.
    cloud.fault(fault, from_s=0.5, to_s=3.5)
    result = mirror(run_id)
    check_complete(result, cloud.truth(run_id))
    assert "retrying for up to" in result.log()
    assert "the cloud can be reached again" in result.log()


def test_a_mirror_that_waits_too_long_gives_up_and_says_so(cloud: ScriptedCloud, mirror: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "0.5")
    monkeypatch.setenv("TOBIKO_FACADE_GIVE_UP_AFTER_S", "1")
    run_id = cloud.run(task_s=1)
    cloud.settled()
    cloud.fault("refuse", from_s=0.5, to_s=60)
    result = mirror(run_id)
    assert result.status == "FAILURE"
    assert "not everything could be reported" in result.run_failure()
    assert "connection refused" in result.run_failure()
    assert "tobiko/mirror" not in result.tags


def test_faults_all_the_time_lose_nothing(cloud: ScriptedCloud, mirror: Any, instance: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_REQUEST_LIMIT_S", "0.7")
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "3")
    for fault in (
        "drop",
        "reset",
        "cut",
        {"answer": {"status": 500}},
        {"answer": {"status": 502, "body": "html"}},
        {"answer": {"status": 200, "body": "empty"}},
        {"redirect": "slash"},
        {"slow_body": 3},
    ):
        cloud.fault(fault, chance=0.08)
    run_id = cloud.run(task_s=[0.2, 0.6], nodes={FAILING: "failed"})
    cloud.settled()
    result = mirror(run_id)
    check_complete(result, cloud.truth(run_id))
    assert sum(rule["done"] for rule in cloud.state()["faults"]) >= 3
    assert check_status(instance, "lake/layer_1/model_01", "audit_1") == "SUCCEEDED"


def test_a_run_that_the_cloud_forgets_is_given_up(cloud: ScriptedCloud, mirror: Any) -> None:
    run_id = cloud.run(task_s=1)
    cloud.settled()
    cloud.order("forget", {"run_id": run_id, "at_s": 1})
    result = mirror(run_id)
    assert result.status == "FAILURE"
    assert f"no longer knows the run {run_id}" in result.run_failure()


def test_a_person_at_a_terminal_sees_the_same_run_to_its_end(
    cloud: ScriptedCloud, executable: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "1")
    run_id = cloud.run(task_s=0.3, nodes={FAILING: "failed"})
    cloud.settled()
    cloud.fault("refuse", from_s=0.4, to_s=1.6)
    argv = [executable, "mirror", f"--run-id={run_id}"]
    done = subprocess.run(argv, env=dict(os.environ), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 6, done.stderr
    output = done.stdout + done.stderr
    for evaluation in cloud.truth(run_id)["evaluations"]:
        assert evaluation["node_name"].replace('"', "") in output.replace('"', ""), output


def test_a_remote_run_that_never_ends_is_followed_until_it_is_ended(cloud: ScriptedCloud, mirror: Any) -> None:
    run_id = cloud.run(task_s=0.2, nodes={"lake.layer_3.model_09": "open"})
    cloud.settled()

    def end() -> None:
        time.sleep(1.5)
        cloud.order(f"runs/{run_id}/end", {"status": "failed", "message": "the scheduler was lost"})

    thread = threading.Thread(target=end)
    thread.start()
    result = mirror(run_id)
    thread.join()
    assert result.steps()["lake_layer_3_model_09"] == "failure"
    assert "the scheduler was lost" in result.failure("lake_layer_3_model_09").description
