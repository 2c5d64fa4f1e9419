"""What plans evaluate, and remote runs that become known late: noticed by the sensor, written once."""

from __future__ import annotations

from typing import Any

import pytest
from dagster_runs import SYNC, count, latest
from fake_cloud import FakeCloud
from test_sensor import Daemon

LOCAL = pytest.mark.parametrize("is_local", [True, False], ids=["local cloud", "Tobiko Cloud"])


def time_of(at: int) -> str:
    return f"2026-01-01T00:{at:02}:00Z"


class Project:
    """One model, in a cloud that a test changes between two ticks. Times are minutes."""

    def __init__(self, cloud: FakeCloud, is_local: bool) -> None:
        self.cloud = cloud
        if is_local:
            cloud.plans = []
        cloud.dags["prod"] = {"environment": "prod", "nodes": [{"name": "a"}]}

    def evaluated(self, evaluation_id: str, at: int, message: str | None = None, **of: str) -> None:
        status = {"status": "failed" if message else "success", "error_message": message}
        times = {"start_at": time_of(at), "end_at": time_of(at + 1)}
        self.cloud.evaluations.append({"evaluation_id": evaluation_id, "node_name": "a", **status, **times, **of})

    def run(self, run_id: str, at: int) -> None:
        """The newest by its start comes first, whenever it becomes known."""
        numbered = {"seq": len(self.cloud.runs) + 1} if self.cloud.plans is not None else {}
        times = {"start_at": time_of(at), "end_at": time_of(at + 1)}
        self.cloud.runs.append({"run_id": run_id, "environment": "prod", "status": "success", **times, **numbered})
        by = "seq" if numbered else "start_at"
        self.cloud.runs.sort(key=lambda run: str(run[by]), reverse=True)
        self.evaluated(f"{run_id}-a", at, run_id=run_id)

    def plan(self, plan_id: str, at: int, message: str | None = None) -> None:
        self.evaluated(f"{plan_id}-a", at, message, plan_id=plan_id)
        if self.cloud.plans is not None:
            ended = {"status": "failed" if message else "success", "error_message": message, "seq": at}
            link = {"link": f"http://cloud.test/plans/{plan_id}"}
            self.cloud.plans.append({"plan_id": plan_id, "environment": "prod", **ended, **link})


@pytest.fixture
def daemon(fake_cloud: FakeCloud, load: Any, instance: Any) -> Any:
    """A project, and a sensor that has synced it."""

    def begin(is_local: bool) -> tuple[Project, Daemon]:
        project = Project(fake_cloud, is_local)
        project.run("r1", 1)
        daemon = Daemon(load(), instance)
        assert daemon.tick() == ["__initial_sync__"]
        assert daemon.tick() == []
        return project, daemon

    return begin


@LOCAL
def test_what_a_plan_evaluates_is_synced_once(daemon: Any, instance: Any, is_local: bool) -> None:
    project, sensor = daemon(is_local)
    project.plan("p1", 5)
    assert sensor.tick() == ["__plan_sync__p1"]
    assert sensor.runs[-1].success
    assert sensor.runs[-1].tags["tobiko/plan_id"] == "p1"
    assert latest(instance, "a")["Tobiko Cloud Execution Id"] == "p1-a"  # type: ignore[index]
    assert [sensor.tick() for _ in range(3)] == [[], [], []]
    assert count(instance, "a") == 2


@LOCAL
def test_an_idle_tick_makes_one_request_more(daemon: Any, is_local: bool) -> None:
    project, sensor = daemon(is_local)
    project.cloud.requested.clear()
    assert sensor.tick() == []
    assert len(project.cloud.requested) == 2, project.cloud.requested


@LOCAL
def test_a_plan_that_failed_fails_its_sync_which_is_not_repeated(daemon: Any, is_local: bool) -> None:
    project, sensor = daemon(is_local)
    project.plan("p1", 5, message="no such column")
    assert sensor.tick() == ["__plan_sync__p1"]
    failed = sensor.runs[-1]
    assert failed.status == "FAILURE"
    failure = failed.failure("populate_asset_info")
    assert "no such column" in failure.description
    if is_local:
        assert failure.metadata["Log Link"].value == "http://cloud.test/plans/p1"
    assert [sensor.tick() for _ in range(3)] == [[], [], []]


@LOCAL
def test_runs_before_a_plan_are_mirrored_before_it_is_synced(daemon: Any, instance: Any, is_local: bool) -> None:
    project, sensor = daemon(is_local)
    project.run("r2", 3)
    project.run("r3", 5)
    project.plan("p1", 7)
    assert [sensor.tick() for _ in range(3)] == [["r2", "r3"], ["__plan_sync__p1"], []]
    assert count(instance, "a") == 4


@LOCAL
def test_a_run_that_becomes_known_late_is_mirrored_and_replaces_nothing_newer(
    daemon: Any, instance: Any, is_local: bool
) -> None:
    project, sensor = daemon(is_local)
    project.run("r3", 9)
    assert sensor.tick() == ["r3"]
    project.run("late", 5)
    assert sensor.tick() == ["late"]
    assert sensor.runs[-1].success
    assert latest(instance, "a")["Tobiko Cloud Run Id"] == "r3"  # type: ignore[index]
    project.run("r4", 11)
    assert [sensor.tick() for _ in range(2)] == [["r4"], []]


def test_the_sync_job_takes_a_plan_by_hand(daemon: Any, instance: Any) -> None:
    project, sensor = daemon(True)
    project.plan("p1", 5)
    from dagster_runs import run_job

    config = {"ops": {"populate_asset_info": {"config": {"plan_id": "p1"}}}}
    assert run_job(sensor.defs, instance, SYNC, config).success
