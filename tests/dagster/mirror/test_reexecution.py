"""Mirrors that are repeated: re-executed whole and from failure, two at once, weeks later."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import scripted_messages as s
from dagster_runs import EACH_EXECUTOR, MIRROR, Result, count, latest, run_job
from recorded_cloud import Cloud, model
from waiting import wait_until


def mirror_job() -> dg.JobDefinition:
    """As a code location has it; for Dagster's Python API, which loads it by its name."""
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    facade = SQLMeshEnterpriseDagster(url=os.environ["TCLOUD_BASE_URL"])
    return facade.create_definitions().get_job_def(MIRROR)


def reexecute(instance: Any, parent: Result, from_failure: bool) -> Result:
    options = (
        dg.ReexecutionOptions.from_failure(parent.run_id, instance)
        if from_failure
        else dg.ReexecutionOptions(parent_run_id=parent.run_id)
    )
    with dg.execute_job(dg.reconstructable(mirror_job), instance=instance, reexecution_options=options) as result:
        return Result(instance, result.run_id)


def a_failed_run(cloud: Cloud) -> None:
    cloud.environment(model("a", audits=("not_null",)), model("b", "a"), model("c", "b"), model("d"))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.evaluated("d")
    run.evaluated("b", status="failed", message="boom")
    run.end("failed", "1 failed")


def test_re_executed_from_failure_it_repeats_the_outcomes_and_no_event(cloud: Cloud, load: Any, instance: Any) -> None:
    a_failed_run(cloud)
    first = run_job(load(), instance)
    assert first.steps() == {"wh_s_a": "success", "wh_s_d": "success", "wh_s_b": "failure"}
    newer = cloud.run("r2", 5000.0)  # it follows its root's run, not the newest
    newer.evaluated("b")
    newer.end()
    again = reexecute(instance, first, from_failure=True)
    assert again.steps() == {"wh_s_b": "failure"}
    assert "boom" in again.failure("wh_s_b").description
    assert again.materializations() == {}
    assert again.checks() == {}
    assert again.tags["tobiko/run_id"] == "r1"
    assert again.run.root_run_id == first.run_id


def test_re_executed_whole_it_repeats_the_outcomes_and_no_event(cloud: Cloud, load: Any, instance: Any) -> None:
    a_failed_run(cloud)
    first = run_job(load(), instance, **{"dagster/run_key": "r1"})
    again = reexecute(instance, first, from_failure=False)
    assert again.steps() == first.steps()
    assert again.materializations() == {}
    assert again.checks() == {}
    third = reexecute(instance, again, from_failure=True)
    assert third.tags["tobiko/run_id"] == "r1"
    assert count(instance, "wh/s/a") == 1


def test_what_the_first_attempt_did_not_report_is_reported_by_the_second(
    definitions: Any, script: Any, instance: Any
) -> None:
    manifest = s.manifest(s.node("a"), s.node("b"))
    script(mirror=[s.OPENED, s.run(), *s.success("a"), s.started("b"), {"exit": 9}])
    first = run_job(definitions(manifest), instance)
    assert first.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    script(mirror=s.whole(s.success("a"), s.success("b"), s.done()))
    again = reexecute(instance, first, from_failure=True)
    assert again.success
    assert again.steps() == {"wh_s_b": "success"}
    assert set(again.materializations()) == {"wh/s/b"}


def test_an_event_is_not_repeated_after_another_in_between(definitions: Any, script: Any, instance: Any) -> None:
    """The root's event is not the latest any more, and has the same timestamp: still not repeated."""
    defs = definitions(s.manifest(s.node("a"), s.node("b")))
    script(mirror=s.whole(s.success("a", "e1", 1000.0), s.task("b", "failure", reason="x"), s.done("failure")))
    first = run_job(defs, instance)
    script(mirror=s.whole(s.success("a", "e2", 1000.0), s.task("b", "nothing_due"), s.done()))
    run_job(defs, instance)
    script(mirror=s.whole(s.success("a", "e1", 1000.0), s.task("b", "failure", reason="x"), s.done("failure")))
    again = reexecute(instance, first, from_failure=False)
    assert again.materializations() == {}
    assert "reported by an earlier attempt" in again.log("wh_s_a")


def test_two_mirrors_of_one_run_both_report_the_truth(cloud: Cloud, load: Any, instance: Any, tmp_path: Path) -> None:
    """At the same time, both may write an event; later, it is already there."""
    cloud.environment(model("a"), model("b"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.started("b")
    defs = load()
    file = tmp_path / "definitions.py"
    file.write_text(
        "import os\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "defs = SQLMeshEnterpriseDagster(url=os.environ['TCLOUD_BASE_URL']).create_definitions()\n"
    )
    # In processes of their own: two runs in two threads of one process are too much for Dagster's locks.
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(file), "-a", "defs", "-j", MIRROR]
    other = subprocess.Popen([*command, "--tags", '{"tobiko/run_id": "r1"}'])
    wait_until(lambda: instance.get_runs() and all(_has_started(instance, "wh_s_b")))

    def end() -> None:
        wait_until(lambda: len(instance.get_runs()) == 2 and all(_has_started(instance, "wh_s_b")))
        run.ended("b")
        run.end()

    scheduler = threading.Thread(target=end)
    scheduler.start()
    here = run_job(defs, instance, **{"tobiko/run_id": "r1"})
    scheduler.join()
    assert other.wait(timeout=60) == 0
    there = Result(instance, next(r.run_id for r in instance.get_runs() if r.run_id != here.run_id))
    assert here.success
    assert there.success
    assert here.steps() == there.steps() == {"wh_s_a": "success", "wh_s_b": "success"}
    assert count(instance, "wh/s/a") == 1  # the first had reported it when the second began
    assert 1 <= count(instance, "wh/s/b") <= 2


def _has_started(instance: Any, step: str) -> list[bool]:
    return [
        any(entry.step_key == step for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START))
        for run in instance.get_runs()
    ]


@EACH_EXECUTOR
def test_a_run_mirrored_weeks_later_does_not_replace_newer_ones(
    cloud: Cloud, load: Any, instance: Any, run_it: Any
) -> None:
    cloud.environment(model("a"), model("only_then"))
    old = cloud.run("old", 2000.0)
    old.evaluated("a")
    old.evaluated("only_then")
    old.end()
    new = cloud.run("new", 9000.0)
    new.evaluated("a")
    new.end()
    defs = load()
    run_it(defs, instance, **{"tobiko/run_id": "new"})
    late = run_it(defs, instance, config={"run_id": "old"})
    assert late.success
    assert set(late.materializations()) == {"wh/s/only_then"}
    assert (latest(instance, "wh/s/a") or {})["Tobiko Cloud Execution Id"] == "new-a-1"


def test_a_run_that_the_cloud_does_not_know_fails_with_a_sentence(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a"))
    result = run_job(load(), instance, config={"run_id": "no-such-run"})
    assert result.status == "FAILURE"
    assert "no remote run was mirrored: " in result.run_failure()
    assert "no-such-run" in result.run_failure()
    assert "Remote run None" not in result.log()
    assert "tobiko/mirror" not in result.tags


def test_without_any_remote_run_it_fails_with_a_sentence(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a"))
    result = run_job(load(), instance)
    assert result.status == "FAILURE"
    assert "run" in result.run_failure()
