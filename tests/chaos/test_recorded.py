"""What the chaos records beside the simulated runs is what the cloud says then."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud_server import executable_under_test
from recorded import Recorder
from scripted_cloud import ScriptedCloud

CLIENT = ("dagster", "hush-hush-chaos")


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedCloud]:
    executable = executable_under_test()
    assert executable, "the executable is not there"
    monkeypatch.setenv("TCLOUD_CLIENT_ID", CLIENT[0])
    monkeypatch.setenv("TCLOUD_CLIENT_SECRET", CLIENT[1])
    generate = {"models": 8, "layers": 2, "audits_each": 1}
    cloud = ScriptedCloud(executable, tmp_path, {"environments": [{"generate": generate}]}, locked=True)
    try:
        cloud.settled()
        yield cloud
    finally:
        cloud.stop()


@pytest.fixture
def recorder(cloud: ScriptedCloud) -> Recorder:
    return Recorder(cloud.base_url, cloud.token_url, CLIENT, random.Random(1))


def nodes(cloud: ScriptedCloud) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cloud.state()["environments"]["prod"]["nodes"]
    return found


def test_what_meets_a_fault_is_sent_again(cloud: ScriptedCloud, recorder: Recorder) -> None:
    recorder.late_run(nodes(cloud))
    cloud.fault({"answer": {"status": 503, "body": "html"}}, path="/auth/token", count=1)
    assert not recorder.send()
    assert recorder.send()
    run = cloud.truth("late-1")
    assert run["status"] == "success"
    assert len(run["evaluations"]) == 4
    assert all(one["audits"] for one in run["evaluations"])


def test_plans_have_the_evaluations_that_are_kept_as_true(cloud: ScriptedCloud, recorder: Recorder) -> None:
    recorder.plan(nodes(cloud), fails=False)
    recorder.plan(nodes(cloud), fails=True)
    assert recorder.send()
    for plan_id, plan in recorder.plans.items():
        answered = recorder.ask(f"/api/v1/evaluations?environment=prod&plan_id={plan_id}")
        fields = ("evaluation_id", "node_name", "status", "error_message")
        assert sorted(tuple(one[name] for name in fields) for one in answered) == sorted(
            tuple(one[name] for name in fields) for one in plan["evaluations"]
        )
        audits = [(audit["name"], audit["status"]) for one in answered for audit in one["audits"]]
        assert len(audits) == (3 if plan["status"] == "failed" else 4)
