"""Checks executed by hand: the true last result is reported again, and never hidden."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import Result, check_metadata, check_status, run_job
from recorded_cloud import Cloud, model, standalone


def execute(defs: dg.Definitions, instance: Any, *names: str, key: str = "wh/s/a") -> Result:
    """As a person does on an asset's page."""
    (checks,) = defs.asset_checks or ()
    keys = [dg.AssetCheckKey(dg.AssetKey(key.split("/")), name) for name in names]
    result = dg.materialize(
        [checks], selection=dg.AssetSelection.checks(*keys), instance=instance, raise_on_error=False
    )
    return Result(instance, result.run_id)


def test_reports_the_newest_result_of_the_selected_checks_only(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(
        model("a", audits=("not_null", "unique")),
        model("b", audits=("not_null",)),
        standalone("no_orphans", "a"),
    )
    run = cloud.run("r1")
    run.started("a")
    run.audited("a", "not_null", passed=False)
    run.audited("a", "unique")
    run.ended("a")
    run.evaluated("b", "not_null")
    run.evaluated('"no_orphans"', "no_orphans")
    run.end()
    defs = load()
    result = execute(defs, instance, "not_null", "no_orphans")
    assert result.success
    assert set(result.checks()) == {("wh/s/a", "not_null"), ("wh/s/a", "no_orphans")}
    assert check_status(instance, "wh/s/a", "not_null") == "FAILED"
    assert check_status(instance, "wh/s/a", "no_orphans") == "SUCCEEDED"
    assert check_status(instance, "wh/s/a", "unique") is None
    metadata = check_metadata(instance, "wh/s/a", "not_null")
    assert metadata["Tobiko Cloud Evaluation Id"] == "r1-a-1"
    assert metadata["Execution Timestamp"] < 3000  # its own, not today's
    assert result.materializations() == {}


def test_without_a_result_it_ends_green_and_says_so(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    result = execute(load(), instance, "not_null")
    assert result.success
    assert "has no result" in result.log()
    assert result.checks() == {}


@pytest.mark.parametrize(
    ("answer", "success"),
    [
        ([s.OPENED, s.done(), s.CLOSED], True),
        ([s.OPENED, s.done("gave_up", "the cloud is away"), s.CLOSED], False),
        ([{"stderr": "error: the cloud is away"}, {"exit": 3}], False),
    ],
)
def test_the_previous_status_is_kept(definitions: Any, script: Any, instance: Any, answer: Any, success: bool) -> None:
    defs = definitions(s.manifest(s.node("a", checks=("not_null",))))
    script(
        mirror=s.whole(
            s.materialized("a", "e1", 1000.0),
            s.checked("a", "not_null", "e1", 1000.0, passed=False),
            s.task("a", "success", materialized=1, checks=1),
            s.done(),
        )
    )
    run_job(defs, instance)
    assert check_status(instance, "wh/s/a", "not_null") == "FAILED"
    script(sync=answer)
    result = execute(defs, instance, "not_null")
    assert result.success is success
    if not success:
        assert "the cloud is away" in str(result.failure("tobiko_cloud_checks_prod"))
    assert check_status(instance, "wh/s/a", "not_null") == "FAILED"
    assert check_metadata(instance, "wh/s/a", "not_null")["Execution Timestamp"] == 1000.0


def test_checks_do_not_block(definitions: Any) -> None:
    (checks,) = definitions(s.manifest(s.node("a", checks=("x", "y")), s.node("b", checks=("x",)))).asset_checks
    assert [spec.blocking for spec in checks.check_specs] == [False, False, False]
    assert checks.can_subset
