"""The truth about a task while its run goes on: under the mirror's executor, and another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagster_runs import EACH_EXECUTOR, MIRROR, SYNC, Result, meanwhile, run_job, steps_with
from recorded_cloud import Cloud, model
from scripted_cloud import ScriptedCloud
from waiting import wait_until


def polls(cloud: ScriptedCloud) -> int:
    """How often the run's evaluations have been requested."""
    return int(cloud.state()["requests"].get("GET /api/v1/runs/*/evaluations", 0))


@EACH_EXECUTOR
def test_nodes_without_an_evaluation_yet_are_waited_for(
    scripted: ScriptedCloud, load: Any, instance: Any, run_it: Any
) -> None:
    """Five models, none of them evaluated by the first three polls: the time of the run stands still until then."""
    scripted.environment("prod", [{"name": f'"wh"."s"."m{n}"'} for n in range(5)])
    scripted.order("clock", {"speed": 0})
    run_id = scripted.run(lanes=1, task_s=1, nodes={"*": {"start_s": 5}})

    def later() -> None:
        wait_until(lambda: polls(scripted) >= 3)
        scripted.order("clock", {"advance_s": 60})

    with meanwhile(later):
        result = run_it(load(), instance, **{"tobiko/run_id": run_id})
    assert result.success
    for n in range(5):
        assert set(result.materializations(f"wh_s_m{n}")) == {f"wh/s/m{n}"}
    assert len(scripted.truth(run_id)["evaluations"]) == 5


@EACH_EXECUTOR
def test_roots_that_are_not_due_do_not_hold_up_a_live_run(cloud: Cloud, load: Any, instance: Any, run_it: Any) -> None:
    """The scheduler goes on only when Dagster shows what is upstream as ended."""
    cloud.environment(
        model("seed", source_type="seed"), model("daily"), model("mid", "seed", "daily"), model("low", "mid")
    )
    run = cloud.run("r1")

    def scheduler() -> None:
        run.started("low")
        wait_until(lambda: {"wh_s_seed", "wh_s_daily", "wh_s_mid"} <= steps_with(instance, "STEP_SUCCESS"))
        run.ended("low")
        run.end()

    with meanwhile(scheduler):
        result = run_it(load(), instance)
    assert result.success
    assert set(result.materializations()) == {"wh/s/low"}
    for step in ("wh_s_seed", "wh_s_daily", "wh_s_mid"):
        assert "nothing was due" in result.log(step)


@EACH_EXECUTOR
@pytest.mark.parametrize("message", ["the worker was lost", None])
def test_a_run_that_crashes_while_a_node_is_open_ends_the_mirror_within_one_poll(
    scripted: ScriptedCloud, load: Any, instance: Any, run_it: Any, message: str | None
) -> None:
    scripted.environment("prod", [{"name": '"wh"."s"."a"'}])
    run_id = scripted.run(task_s=1, nodes={"*": "open"})
    polls_at_end: list[int] = []

    def crash() -> None:
        wait_until(lambda: polls(scripted) >= 2)
        scripted.order(f"runs/{run_id}/end", {"status": "failed", "message": message})
        scripted.wait_for_end(run_id)
        polls_at_end.append(polls(scripted))

    with meanwhile(crash):
        result = run_it(load(), instance, **{"tobiko/run_id": run_id})
    assert result.steps() == {"wh_s_a": "failure"}
    failure = result.failure("wh_s_a")
    assert (message or "ended as 'failed', without a message") in failure.description
    assert failure.metadata["Debugger"].value.startswith(scripted.base_url)
    # The one that was on its way, and one that sees the end.
    assert polls(scripted) <= polls_at_end[0] + 2


@EACH_EXECUTOR
def test_an_evaluation_after_its_verdict_is_reported_on_the_run(
    cloud: Cloud, load: Any, instance: Any, run_it: Any
) -> None:
    """Under another executor, the op that reported the verdict has finished."""
    cloud.environment(model("a", audits=("not_null",)), model("b", "a"))
    run = cloud.run("r1")

    def scheduler() -> None:
        run.started("b")
        wait_until(lambda: "wh_s_a" in steps_with(instance, "STEP_SUCCESS"))
        run.evaluated("a", "not_null")
        run.ended("b")
        run.end()

    with meanwhile(scheduler):
        result = run_it(load(), instance)
    assert result.success
    assert "nothing was due" in result.log("wh_s_a")
    if run_it is run_job:
        assert set(result.materializations()) == {"wh/s/a", "wh/s/b"}
        assert set(result.checks()) == {("wh/s/a", "not_null")}
        assert result.materializations("wh_s_a") == {}
        assert "evaluated after its task had been reported as ended" in result.log()
    else:
        assert set(result.materializations()) == {"wh/s/b"}


@EACH_EXECUTOR
def test_models_that_came_and_went_while_a_run_is_on(cloud: Cloud, load: Any, instance: Any, run_it: Any) -> None:
    cloud.environment(model("a"), model("gone"))
    definitions = load()
    run = cloud.run("r1")
    run.evaluated("a")
    cloud.environment(model("a"), model("new", "a"), at=2500.0)
    run.started("new")

    def scheduler() -> None:
        wait_until(lambda: {"wh_s_a", "wh_s_gone"} <= steps_with(instance, "STEP_SUCCESS"))
        run.ended("new")
        run.end()

    with meanwhile(scheduler):
        result = run_it(definitions, instance)
    assert result.success
    assert "it is no longer in the environment" in result.log("wh_s_gone")
    if run_it is run_job:
        assert set(result.materializations()) == {"wh/s/a", "wh/s/new"}
        assert "this job does not know it: reload the code location" in result.log()
    else:
        assert set(result.materializations()) == {"wh/s/a"}


@EACH_EXECUTOR
@pytest.mark.parametrize("by_hand", [{}, {"config": {"run_id": "r1"}}], ids=["without a run id", "with one"])
def test_launched_by_hand_all_steps_follow_one_run(
    cloud: Cloud, load: Any, instance: Any, run_it: Any, by_hand: dict[str, Any]
) -> None:
    """A newer run comes and goes before the second step has begun."""
    cloud.environment(model("a"), model("b", "a"))
    run = cloud.run("r1")
    run.started("a")

    def scheduler() -> None:
        wait_until(lambda: "wh_s_a" in steps_with(instance, "STEP_START"))
        # The run is chosen when it is named on the Dagster run.
        wait_until(lambda: instance.get_runs(limit=1)[0].tags.get("tobiko/run_id") == "r1")
        newer = cloud.run("r2", 4e9)
        newer.evaluated("a")
        newer.evaluated("b")
        newer.end()
        run.ended("a")
        run.evaluated("b")
        run.end()

    with meanwhile(scheduler):
        result = run_it(load(), instance, **by_hand)
    assert result.success
    reported = {asset: metadata["Tobiko Cloud Execution Id"] for asset, metadata in result.materializations().items()}
    assert reported == {"wh/s/a": "r1-a-1", "wh/s/b": "r1-b-1"}
    assert result.tags["tobiko/run_id"] == "r1"


def test_a_sync_beside_a_mirror_doubles_nothing(cloud: Cloud, load: Any, instance: Any, tmp_path: Path) -> None:
    """The mirror is a process of its own: two runs in two threads of one are too much for Dagster's locks."""
    cloud.environment(model("a", audits=("not_null",)), model("b", audits=("not_null",)))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.started("b")
    file = tmp_path / "definitions.py"
    file.write_text(
        "import os\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "defs = SQLMeshEnterpriseDagster(url=os.environ['TCLOUD_BASE_URL']).create_definitions()\n"
    )
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(file), "-a", "defs", "-j", MIRROR]
    mirror = subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: "wh_s_a" in steps_with(instance, "STEP_SUCCESS"), limit_s=60)
        (mirror_run,) = instance.get_runs()
        beside = run_job(load(), instance, SYNC)
        run.audited("b", "not_null")
        run.ended("b")
        run.end()
        assert mirror.wait(timeout=60) == 0
    finally:
        mirror.kill()
    assert beside.success
    assert (beside.materializations(), beside.checks()) == ({}, {})
    mirrored = Result(instance, mirror_run.run_id)
    assert set(mirrored.materializations()) == {"wh/s/a", "wh/s/b"}
    assert set(mirrored.checks()) == {("wh/s/a", "not_null"), ("wh/s/b", "not_null")}
    afterwards = run_job(load(), instance, SYNC)
    assert (afterwards.materializations(), afterwards.checks()) == ({}, {})
