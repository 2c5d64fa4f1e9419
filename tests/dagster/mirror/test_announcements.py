"""Assets show failure and progress, and none is failed that the cloud does not call failed: what the pages read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import dagster as dg
import pytest
import scripted_messages as s
from asset_states import show_health, states
from dagster_pages import pages
from dagster_runs import MIRROR, SYNC, Result, meanwhile, run_in_process, run_job, steps_with
from waiting import wait_until

from tobikodata.scheduler_facades.dagster._internals import EVENTS_HAVE_TIMES

MANIFEST = s.manifest(
    s.node("a"), s.node("b"), s.node("idle"), s.node("skipped"), s.node("external", kind="table"), environment="prod"
)
ASSETS = tuple(f"wh/s/{name}" for name in ("a", "b", "idle", "skipped", "external"))
FAILED, GOOD, OPEN, NOTHING = "failed", "materialized", "in progress", "nothing"

DEFINITIONS = """
import os
from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster
defs = SQLMeshEnterpriseDagster(url=os.environ["TCLOUD_BASE_URL"]).create_definitions(environment="prod")
"""


@pytest.fixture
def defs(definitions: Any) -> dg.Definitions:
    return definitions(MANIFEST)  # type: ignore[no-any-return]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "definitions.py"
    path.write_text(DEFINITIONS)
    return path


@pytest.fixture
def shown(defs: Any, instance: Any, file: Path, monkeypatch: Any) -> Iterator[Callable[..., dict[str, str]]]:
    """The states of assets, by the last part of the key; of a and b where none is named."""
    show_health(instance, monkeypatch)
    with pages(instance, file, has_server=False) as ask:
        yield lambda *names: {
            key.rpartition("/")[2]: state
            for key, state in states(ask, *(f"wh/s/{name}" for name in names or ("a", "b"))).items()
        }


def announced(result: Result) -> list[str]:
    return [entry.dagster_event.asset_key.to_user_string() for entry in result.events("ASSET_MATERIALIZATION_PLANNED")]


def failed(name: str, at: float = 1000.0) -> dict[str, Any]:
    return s.task(name, "failure", reason="boom", at=at)


def test_failed_in_progress_and_cleared_by_the_next_good_run(
    defs: Any, script: Any, instance: Any, tmp_path: Path, shown: Any
) -> None:
    seen = tmp_path / "seen"
    script(
        mirror=s.whole(
            s.task("idle", "nothing_due"),
            s.started("external"),
            s.started("a"),
            s.success("a"),
            s.started("b"),
            {"wait_for": str(seen)},
            s.task("skipped", "nothing_due"),
            s.task("external", "success"),
            failed("b"),
            s.done("failure", "1 failed"),
        )
    )

    while_open: dict[str, Any] = {}

    def look() -> None:
        try:
            wait_until(lambda: "wh_s_b" in steps_with(instance, "STEP_START"))
            while_open.update(shown())
        finally:
            seen.touch()

    with meanwhile(look):
        first = run_job(defs, instance)
    assert while_open == {"a": GOOD, "b": OPEN}
    assert first.status == "FAILURE"
    assert shown("a", "b", "idle", "skipped", "external") == {
        "a": GOOD,
        "b": FAILED,
        "idle": NOTHING,
        "skipped": NOTHING,
        "external": NOTHING,
    }
    assert announced(first) == ["wh/s/a", "wh/s/b"]

    script(mirror=s.whole(s.started("a"), s.success("a", "e2", 2000.0), s.started("b"), s.success("b"), s.done()))
    second = run_job(defs, instance)
    assert announced(second) == ["wh/s/a", "wh/s/b"]
    assert shown() == {"a": GOOD, "b": GOOD}

    # The mirror of an old run, launched by hand, changes nothing; its failure is older than what is there.
    script(mirror=s.whole(failed("b", at=10.0), s.done("failure", "old")))
    assert announced(run_job(defs, instance)) == []
    assert shown() == {"a": GOOD, "b": GOOD}


def test_what_a_newer_run_shows_stays(defs: Any, script: Any, instance: Any, shown: Any) -> None:
    newer = [s.OPENED, s.run("r2", start_at=2000.0), s.started("a"), failed("a", 2010.0), s.done("failure"), s.CLOSED]
    script(mirror=newer)
    run_job(defs, instance)
    assert shown("a") == {"a": FAILED}
    older = [*s.success("a", "e1", 1010.0), s.started("b"), failed("b", 1020.0), s.done("failure"), s.CLOSED]
    script(mirror=[s.OPENED, s.run("r1", start_at=1000.0), s.started("a"), *older])
    late = run_job(defs, instance)
    assert set(late.materializations()) == {"wh/s/a"}
    assert announced(late) == ["wh/s/b"]
    # Where events do not carry the evaluation's time, the older one looks like the newest.
    assert shown() == {"a": FAILED if EVENTS_HAVE_TIMES else GOOD, "b": FAILED}

    # A failed plan's sync makes red what failed; what it has written is good.
    script(sync=s.whole(s.success("a", "e3", 3000.0), failed("idle"), s.done("failure", "1 failed")))
    assert run_job(defs, instance, SYNC, **{"tobiko/plan_id": "p1"}).status == "FAILURE"
    assert shown("a", "idle") == {"a": GOOD, "idle": FAILED}


def test_an_eager_asset_waits_for_what_is_evaluated(defs: Any, script: Any, instance: Any, tmp_path: Path) -> None:
    seen = tmp_path / "seen"

    @dg.asset(
        deps=[dg.AssetKey(["wh", "s", name]) for name in ("a", "b")],
        automation_condition=dg.AutomationCondition.eager(),
    )
    def below() -> None: ...

    merged = dg.Definitions.merge(defs, dg.Definitions(assets=[below]))
    script(mirror=s.whole(s.success("a"), s.success("b"), s.done()))
    run_job(defs, instance)
    before = dg.evaluate_automation_conditions(merged, instance)
    wait = {"wait_for": str(seen)}
    second = s.success("a", "e2", 2000.0), s.started("b"), wait, s.success("b", "e2", 2000.0), s.done()
    script(mirror=s.whole(s.started("a"), *second))
    while_open: list[int] = []

    def look() -> None:
        try:
            wait_until(lambda: len(instance.get_runs()) == 2 and "wh_s_b" in steps_with(instance, "STEP_START"))
            again = dg.evaluate_automation_conditions(merged, instance, cursor=before.cursor)
            while_open.append(again.total_requested)
        finally:
            seen.touch()

    with meanwhile(look):
        run_job(defs, instance)
    assert while_open == [0]
    after = dg.evaluate_automation_conditions(merged, instance, cursor=before.cursor)
    assert after.total_requested == 1


def test_what_another_run_has_written_is_good_though_this_run_fails(
    defs: Any, script: Any, instance: Any, shown: Any
) -> None:
    # A sync writes the evaluation that a mirror has announced: here before, so that the mirror leaves it out.
    script(sync=s.whole(s.success("a", "e1"), s.done()))
    assert run_job(defs, instance, SYNC).success
    script(mirror=s.whole(s.started("a"), s.started("b"), s.success("a", "e1"), failed("b"), s.done("failure", "1")))
    first = run_job(defs, instance)
    assert first.materializations() == {}
    assert shown() == {"a": GOOD, "b": FAILED}

    # A re-execution, which leaves out what its root has written.
    script(mirror=s.whole(s.started("a"), s.success("a", "e2", 2000.0), s.started("b"), failed("b"), s.done("failure")))
    root = run_job(defs, instance)
    again = re_executed(defs, instance, root)
    assert again.materializations() == {}
    assert shown() == {"a": GOOD, "b": FAILED}

    # An interrupted mirror, and its relaunch.
    script(mirror=[s.OPENED, s.run(), s.started("a"), *s.success("a", "e3", 3000.0), s.started("b"), {"exit": 9}])
    broken = run_job(defs, instance, **{"dagster/run_key": "r1"})
    assert announced(broken) == ["wh/s/a", "wh/s/b"]
    assert shown() == {"a": GOOD, "b": FAILED}  # as before: of its new evaluation nothing is known
    script(mirror=s.whole(s.started("a"), s.success("a", "e3", 3000.0), s.started("b"), failed("b"), s.done("failure")))
    relaunched = run_job(defs, instance, **{"dagster/run_key": "r1#2"})
    assert relaunched.materializations() == {}
    assert shown() == {"a": GOOD, "b": FAILED}

    # A sync that has something newer clears a failure, even while the mirror that shows it goes on.
    script(sync=s.whole(s.success("b", "e4", 4000.0), s.done()))
    assert run_job(defs, instance, SYNC).success
    assert shown() == {"a": GOOD, "b": GOOD}

    # The third attempt stops before completion, too: nothing is failed.
    script(mirror=[s.OPENED, s.run(), s.started("a"), s.started("b"), {"exit": 9}])
    third = run_job(defs, instance, **{"dagster/run_key": "r1#3"})
    assert third.status == "FAILURE"
    assert shown() == {"a": GOOD, "b": GOOD}
    # Nor is an asset of which Dagster knew nothing before.
    script(mirror=[s.OPENED, s.run(), s.started("idle"), {"exit": 9}])
    run_job(defs, instance)
    assert shown("idle") == {"idle": NOTHING}


def re_executed(defs: dg.Definitions, instance: dg.DagsterInstance, root: Result) -> Result:
    from dagster._core.definitions.job_base import InMemoryJob
    from dagster._core.execution.api import execute_run

    job = defs.get_job_def(MIRROR)
    run = instance.create_run_for_job(job, tags=job.run_tags, root_run_id=root.run_id, parent_run_id=root.run_id)
    execute_run(InMemoryJob(job), run, instance)
    return Result(instance, run.run_id)


def test_a_cancelled_mirror_leaves_assets_as_they_were(defs: Any, script: Any, instance: Any, shown: Any) -> None:
    script(mirror=s.whole(s.started("a"), s.success("a"), s.started("b"), failed("b"), s.done("failure")))
    run_job(defs, instance)
    assert shown() == {"a": GOOD, "b": FAILED}
    script(mirror=[s.OPENED, s.run("r2"), s.started("a"), s.started("b"), {"sleep": 600}])

    def cancel() -> None:
        wait_until(lambda: len(instance.get_runs()) == 2 and "wh_s_b" in steps_with(instance, "STEP_START"))
        instance.report_run_canceling(instance.get_runs(limit=1)[0])
        os.kill(os.getpid(), signal.SIGINT)

    with meanwhile(cancel):
        assert run_job(defs, instance).status == "CANCELED"
    assert shown() == {"a": GOOD, "b": FAILED}


def test_what_a_killed_worker_has_announced_is_handed_back_by_the_sensor(
    defs: Any, script: Any, instance: Any, file: Path, shown: Any
) -> None:
    script(mirror=[s.OPENED, s.run(), s.started("a"), *s.success("a"), s.started("b"), {"sleep": 600}])
    command = [sys.executable, "-m", "dagster", "job", "execute", "-f", str(file), "-a", "defs", "-j", MIRROR]
    worker = subprocess.Popen(command)
    try:
        wait_until(lambda: "wh_s_b" in steps_with(instance, "STEP_START"))
        assert shown() == {"a": GOOD, "b": OPEN}
    finally:
        worker.kill()
        worker.wait()
        os.kill(script.calls("mirror")[-1]["pid"], signal.SIGKILL)
    # Dagster's run monitor finds that nobody executes the run.
    instance.report_run_failed(instance.get_runs(limit=1)[0])
    assert shown() == {"a": GOOD, "b": FAILED}

    reply = {"log": [], "requests": [], "skip_reason": "nothing new", "cursor": "{}"}
    script(tick={"reply": reply})
    sensor = defs.get_sensor_def("tobiko_cloud_track_prod")
    for _ in range(2):
        sensor.evaluate_tick(dg.build_sensor_context(instance=instance, definitions=defs, cursor="{}"))
        assert shown() == {"a": GOOD, "b": NOTHING}
    planned = instance.fetch_planned_materializations(dg.AssetKey(["wh", "s", "b"]), limit=10)
    assert len(planned.records) == 2  # announced, and handed back once

    # The relaunched mirror shows what the cloud says.
    script(mirror=s.whole(s.started("a"), s.success("a"), s.started("b"), failed("b"), s.done("failure")))
    run_job(defs, instance, **{"dagster/run_key": "r1#2"})
    assert shown() == {"a": GOOD, "b": FAILED}


def test_under_another_executor_the_same_is_shown(defs: Any, script: Any, instance: Any, shown: Any) -> None:
    everything = [s.started("a"), s.success("a"), s.started("b"), failed("b"), s.started("external")]
    rest = [s.task(name, "nothing_due") for name in ("idle", "skipped")]
    script(mirror=s.whole(*everything, *rest, s.task("external", "success"), s.done("failure")))
    result = run_in_process(defs, instance)
    assert result.status == "FAILURE"
    assert sorted(announced(result)) == ["wh/s/a", "wh/s/b"]
    assert shown("a", "b", "external") == {"a": GOOD, "b": FAILED, "external": NOTHING}

    script(mirror=[s.OPENED, s.run("r2"), s.started("a"), s.started("b"), {"exit": 9}])
    assert run_in_process(defs, instance).status == "FAILURE"
    assert shown() == {"a": GOOD, "b": FAILED}
