"""The sync: the current state of an environment, once."""

from __future__ import annotations

from typing import Any

import scripted_messages as s
from dagster_runs import SYNC, check_metadata, check_status, count, latest, run_in_process, run_job
from recorded_cloud import Cloud, model, standalone

FULL = {"ops": {"populate_asset_info": {"config": {"full": True}}}}


def test_reports_the_newest_of_each_and_nothing_the_second_time(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)), model("b", "a"), standalone("no_orphans", "a"))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.evaluated("b")
    run.evaluated('"no_orphans"', "no_orphans")
    run.end()
    defs = load()
    result = run_job(defs, instance, SYNC)
    assert result.success
    assert set(result.materializations("populate_asset_info")) == {"wh/s/a", "wh/s/b"}
    assert set(result.checks("populate_asset_info")) == {("wh/s/a", "not_null"), ("wh/s/a", "no_orphans")}
    assert check_status(instance, "wh/s/a", "not_null") == "SUCCEEDED"
    assert check_status(instance, "wh/s/a", "no_orphans") == "SUCCEEDED"
    assert (latest(instance, "wh/s/a") or {})["Tobiko Cloud Execution Id"] == "r1-a-1"

    again = run_job(defs, instance, SYNC)
    assert again.success
    assert again.materializations() == {}
    assert again.checks() == {}
    assert "0 events written, 4 skipped" in again.log()

    full = run_job(defs, instance, SYNC, config=FULL)
    assert len(full.materializations()) == 2
    assert len(full.checks()) == 2
    assert check_status(instance, "wh/s/a", "not_null") == "SUCCEEDED"


def test_works_in_process_too(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.end()
    assert run_in_process(load(), instance, SYNC).success
    assert count(instance, "wh/s/a") == 1
    assert check_status(instance, "wh/s/a", "not_null") == "SUCCEEDED"


def test_where_the_newest_failed_the_one_before_is_materialized(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    well = cloud.run("r1", at=2000.0)
    well.evaluated("a", "not_null")
    well.end()
    badly = cloud.run("r2", at=3000.0)
    badly.started("a")
    badly.audited("a", "not_null", passed=False, blocking=True)
    badly.ended("a", "failed", "audit failed")
    badly.end("failed", "1 failed")
    result = run_job(load(), instance, SYNC)
    assert result.success
    assert result.materializations()["wh/s/a"]["Tobiko Cloud Execution Id"] == "r1-a-1"
    assert check_status(instance, "wh/s/a", "not_null") == "FAILED"
    assert check_metadata(instance, "wh/s/a", "not_null")["Tobiko Cloud Evaluation Id"] == "r2-a-1"


def test_open_evaluations_are_left_to_the_mirror(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a"), model("b"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.started("b")
    result = run_job(load(), instance, SYNC)
    assert set(result.materializations()) == {"wh/s/a"}
    # and the mirror reports b, and not a a second time
    run.ended("b")
    run.end()
    mirrored = run_job(load(), instance)
    assert mirrored.success
    assert set(mirrored.materializations()) == {"wh/s/b"}


def test_after_a_mirror_nothing_is_left_to_sync(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.end()
    defs = load()
    assert run_job(defs, instance).success
    result = run_job(defs, instance, SYNC)
    assert result.materializations() == {}
    assert result.checks() == {}


def test_a_sync_that_breaks_off_fails(definitions: Any, script: Any, instance: Any) -> None:
    script(sync=[s.OPENED, *s.success("a"), {"stderr": "error: the cloud is gone"}, {"exit": 3}])
    result = run_job(definitions(s.manifest(s.node("a"))), instance, SYNC)
    assert result.steps() == {"populate_asset_info": "failure"}
    assert "the cloud is gone" in str(result.failure("populate_asset_info"))
    assert set(result.materializations()) == {"wh/s/a"}  # what arrived is kept
