"""Runs of the past, which a sync writes as runs of the mirror job where it is asked to."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import MIRROR, SYNC, run_job
from recorded_cloud import Cloud, model

from tobikodata.scheduler_facades.dagster import _internals
from tobikodata.scheduler_facades.dagster._sensor.dagster_runs import newest_mirror, with_free_key

DAY_S = 86_400.0
STATUS_CHANGES = (dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE)
needs_history = pytest.mark.skipif(not _internals.HAS_HISTORICAL_RUNS, reason="this Dagster takes no runs of the past")


def history(age: str) -> dict[str, Any]:
    return {"ops": {"populate_asset_info": {"config": {"history": age}}}}


def past_runs(instance: Any) -> dict[str, Any]:
    """The records of the mirror job's runs, by remote run."""
    records = instance.get_run_records(dg.RunsFilter(job_name=MIRROR))
    return {
        record.dagster_run.tags["tobiko/run_id"]: record
        for record in records
        if "tobiko/history" in record.dagster_run.tags
    }


@needs_history
def test_runs_of_the_past_are_written_once_and_wake_nobody(cloud: Cloud, load: Any, instance: Any) -> None:
    now = time.time()
    cloud.environment(model("a", audits=("x",)), model("b", "a"), at=now - 30 * DAY_S)
    too_old = cloud.run("r0", at=now - 20 * DAY_S)
    too_old.evaluated("a")
    too_old.end()
    well = cloud.run("r1", at=now - 3 * DAY_S)
    well.evaluated("a", "x")
    well.evaluated("b")
    well.end()
    badly = cloud.run("r2", at=now - 2 * DAY_S)
    badly.evaluated("a", status="failed", message="no such column")
    badly.end("failed", "1 failed")
    goes_on = cloud.run("r3", at=now - 100)
    goes_on.started("a")
    defs = load()

    @dg.run_failure_sensor(monitored_jobs=[defs.get_job_def(MIRROR)])
    def alert(context: Any) -> None: ...

    def alerts(cursor: str | None) -> tuple[list[str], str | None]:
        with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
            tick = alert.evaluate_tick(context)
        return [reaction.dagster_run.run_id for reaction in tick.dagster_run_reactions or ()], tick.cursor

    assert not run_job(defs, instance, **{"tobiko/run_id": "unknown"}).success
    _, cursor = alerts(None)
    assert not run_job(defs, instance, **{"tobiko/run_id": "unknown"}).success
    heard, cursor = alerts(cursor)
    assert len(heard) == 1  # it hears of a mirror that fails
    news = {kind: instance.fetch_run_status_changes(kind, limit=99).records for kind in STATUS_CHANGES}

    synced = run_job(defs, instance, SYNC, config=history("7d"))
    assert synced.success, synced.log()
    assert "2 runs of the past 7d written, 0 skipped" in synced.log()
    heard, cursor = alerts(cursor)
    assert heard == []
    for kind in STATUS_CHANGES:
        now_there = instance.fetch_run_status_changes(kind, limit=99).records
        assert {record.run_id for record in now_there} - {record.run_id for record in news[kind]} <= {synced.run_id}

    runs = past_runs(instance)
    assert runs.keys() == {"r1", "r2"}
    one, two = runs["r1"], runs["r2"]
    assert (one.dagster_run.status.value, two.dagster_run.status.value) == ("SUCCESS", "FAILURE")
    assert one.create_timestamp.timestamp() == pytest.approx(now - 3 * DAY_S + 1, abs=1)
    assert (one.start_time, one.end_time) == (
        pytest.approx(now - 3 * DAY_S + 1, abs=0.01),
        pytest.approx(now - 3 * DAY_S + 7, abs=0.01),
    )
    # Its page draws the steps.
    assert instance.get_job_snapshot(one.dagster_run.job_snapshot_id)
    assert instance.get_execution_plan_snapshot(one.dagster_run.execution_plan_snapshot_id)
    stats = {stats.step_key: stats for stats in instance.get_run_step_stats(one.dagster_run.run_id)}
    assert {key: stats.status.value for key, stats in stats.items()} == {"wh_s_a": "SUCCESS", "wh_s_b": "SUCCESS"}
    assert stats["wh_s_a"].start_time == pytest.approx(now - 3 * DAY_S + 2, abs=0.01)
    assert stats["wh_s_a"].end_time == pytest.approx(now - 3 * DAY_S + 4, abs=0.01)
    kinds = {entry.dagster_event.event_type_value for entry in instance.all_logs(one.dagster_run.run_id)}
    assert kinds == {"STEP_START", "STEP_SUCCESS"}
    (failed,) = instance.all_logs(two.dagster_run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert "no such column" in failed.dagster_event.step_failure_data.user_failure_data.description

    # The tracking sensor does not take it for a mirror of its own.
    ours: Any = SimpleNamespace(mirror_job=MIRROR, sync_job=SYNC)
    with dg.build_sensor_context(instance=instance) as context:
        assert newest_mirror(context, ours, "r1", 1) is None
        assert with_free_key(context, MIRROR, "r1") == "r1"

    again = run_job(defs, instance, SYNC, config=history("7d"))
    assert "0 runs of the past 7d written, 2 skipped" in again.log()
    assert past_runs(instance).keys() == {"r1", "r2"}

    # What was mirrored is not written beside its mirror.
    assert run_job(defs, instance, MIRROR, **{"tobiko/run_id": "r0"}).success
    assert "0 runs of the past 30d written, 3 skipped" in run_job(defs, instance, SYNC, config=history("30d")).log()


def test_an_older_dagster_leaves_history_out(definitions: Any, script: Any, instance: Any) -> None:
    defs = definitions(s.manifest(s.node("a")))
    script(sync=s.whole(s.success("a"), s.done()))
    result = run_job(defs, instance, SYNC, config=history("7d"))
    assert result.success, result.log()
    (call,) = script.calls("sync")
    assert ("--history=7d" in call["argv"]) is _internals.HAS_HISTORICAL_RUNS
    assert ("history is left out" in result.log()) is not _internals.HAS_HISTORICAL_RUNS
