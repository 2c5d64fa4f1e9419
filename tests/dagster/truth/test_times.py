"""When things happened: events carry the evaluation's time, from Dagster 1.10.14 on; before, the time of writing."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import MIRROR, SYNC, Result, count, latest, run_in_process, run_job

from tobikodata.scheduler_facades.dagster import _internals

DAY_S = 86_400.0
HAVE_TIMES = _internals.EVENTS_HAVE_TIMES
needs_times = pytest.mark.skipif(not HAVE_TIMES, reason="this Dagster's events have the time of writing")


def times(result: Result, kind: str) -> dict[str | None, float]:
    return {entry.step_key: entry.timestamp for entry in result.events(kind)}


def expected(at: float, since: float) -> Any:
    return pytest.approx(at, abs=0.001) if HAVE_TIMES else pytest.approx((since + time.time()) / 2, abs=60)


def test_mirror_and_sync_write_the_time_of_the_evaluation(definitions: Any, script: Any, instance: Any) -> None:
    began = time.time()
    long_ago = began - 20 * DAY_S
    ahead = began + 3600
    defs = definitions(s.manifest(s.node("a", checks=("c",)), s.node("b"), s.node("z", checks=("c",))))
    script(
        sync=s.whole(*s.success("a", at=long_ago, checks=("c",)), s.done()),
        mirror=s.whole(
            s.success("a", "e-2", long_ago + 60, checks=("c",)),
            s.success("b", at=ahead),  # the cloud's clock
            s.success("new", at=long_ago + 90, checks=("c",)),  # no step: on the run
            s.done(),
        ),
    )
    synced = run_job(defs, instance, SYNC)
    assert synced.success, synced.log()
    step = "populate_asset_info"
    for kind in ("ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION"):
        assert times(synced, kind) == {step: expected(long_ago, began)}
    assert instance.get_latest_materialization_event(dg.AssetKey(["wh", "s", "a"])).timestamp == expected(
        long_ago, began
    )

    mirrored = run_job(defs, instance, MIRROR)
    assert mirrored.success, mirrored.log()
    written = times(mirrored, "ASSET_MATERIALIZATION")
    assert written["wh_s_a"] == expected(long_ago + 60, began)
    assert written[None] == expected(long_ago + 90, began)
    assert began <= written["wh_s_b"] <= time.time()  # never in the future
    assert (latest(instance, "wh/s/b") or {})["Materialization Timestamp"] == ahead
    assert times(mirrored, "ASSET_CHECK_EVALUATION") == {
        "wh_s_a": expected(long_ago + 60, began),
        None: expected(long_ago + 90, began),
    }
    # The check belongs to the materialization that is written before it.
    stats = {stats.step_key: stats for stats in instance.get_run_step_stats(mirrored.run_id)}
    assert len(stats["wh_s_a"].materialization_events) == 1
    assert stats["wh_s_a"].start_time >= began

    # What comes later is newer for Dagster, whatever its time.
    script(mirror=s.whole(s.success("b", "e-b2", long_ago), s.done()))
    again = run_in_process(defs, instance, MIRROR)
    assert "Dagster has a newer one" in again.log("wh_s_b")
    assert count(instance, "wh/s/b") == 1


def test_a_wiped_asset_is_shown_again_by_one_sync(definitions: Any, script: Any, instance: Any) -> None:
    long_ago = time.time() - 20 * DAY_S
    defs = definitions(s.manifest(s.node("a", checks=("c",)), s.node("b")))
    script(sync=s.whole(s.success("a", at=long_ago, checks=("c",)), s.success("b", at=long_ago), s.done()))
    assert run_job(defs, instance, SYNC).success
    key = dg.AssetKey(["wh", "s", "a"])
    instance.wipe_assets([key])
    wiped = time.time()
    assert instance.get_asset_records([key]) == []

    shown = run_job(defs, instance, SYNC)
    assert set(shown.materializations()) == {"wh/s/a"}
    (record,) = instance.get_asset_records([key])
    event = record.asset_entry.last_materialization_record
    assert event is not None
    assert event.timestamp >= wiped
    assert count(instance, "wh/s/a") == 1
    assert (latest(instance, "wh/s/a") or {})["Materialization Timestamp"] == pytest.approx(long_ago)

    again = run_job(defs, instance, SYNC)
    assert (again.materializations(), again.checks()) == ({}, {})

    # What is evaluated after the wipe has its own time again.
    since = time.time()
    script(sync=s.whole(s.success("a", "e-2", at=since), s.done()))
    assert times(run_job(defs, instance, SYNC), "ASSET_MATERIALIZATION") == {
        "populate_asset_info": expected(since, since)
    }


def test_a_wiped_asset_that_was_announced_is_not_taken_for_known(definitions: Any, script: Any, instance: Any) -> None:
    """An event after the wipe makes the asset's row visible, on some versions with the materialization from before."""
    defs = definitions(s.manifest(s.node("a")))
    script(sync=s.whole(s.success("a", at=1000.0), s.done()))
    assert run_job(defs, instance, SYNC).success
    key = dg.AssetKey(["wh", "s", "a"])
    instance.wipe_assets([key])
    instance.report_runless_asset_event(dg.AssetObservation(key))
    assert set(run_job(defs, instance, SYNC).materializations()) == {"wh/s/a"}
    assert latest(instance, "wh/s/a")


@needs_times
def test_what_reads_ages_and_what_reads_news_see_both(definitions: Any, script: Any, instance: Any) -> None:
    """Freshness goes by the time of the event; sensors and automation by when it was written."""
    long_ago = time.time() - 20 * DAY_S
    key = dg.AssetKey(["wh", "s", "a"])

    @dg.asset(deps=[key], automation_condition=dg.AutomationCondition.eager())
    def report() -> None: ...

    @dg.asset_sensor(asset_key=key, job_name="anything")
    def news(context: Any, event: Any) -> Any:
        return dg.RunRequest(run_key=context.cursor)

    freshness = dg.build_last_update_freshness_checks(assets=[key], lower_bound_delta=timedelta(days=10))
    ours = definitions(s.manifest(s.node("a")))
    defs = dg.Definitions.merge(ours, dg.Definitions(assets=[report], asset_checks=freshness))
    cursor = dg.evaluate_automation_conditions(defs, instance).cursor
    script(sync=s.whole(s.success("a", at=long_ago), s.done()))
    assert run_job(defs, instance, SYNC).success

    requested = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
    assert requested.get_num_requested(dg.AssetKey("report")) == 1
    with dg.build_sensor_context(instance=instance) as context:
        assert len(news.evaluate_tick(context).run_requests or ()) == 1

    job = dg.define_asset_job("check_ages", selection=dg.AssetSelection.checks(*freshness))
    with_job = dg.Definitions.merge(defs, dg.Definitions(jobs=[job]))
    with_job.get_job_def("check_ages").execute_in_process(instance=instance)
    (check,) = (check_key for checks in freshness for check_key in checks.check_keys)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    assert record.status.value == "FAILED"  # 20 days are more than 10
