"""Checks executed by hand: the true last result is reported again, and never hidden."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import Result, check_metadata, check_status, run_job
from recorded_cloud import Cloud, model, standalone

from tobikodata.scheduler_facades.dagster import DagsterSQLMeshTranslator, SQLMeshAudit


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
    descriptions = {evaluation.description for evaluation in result.checks().values()}
    assert all(text.startswith("Measured 1970-01-01 00:3") for text in descriptions), descriptions
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
        (evaluation,) = result.checks().values()
        assert evaluation.description == "Measured 1970-01-01 00:16:40 UTC, reported again."
    assert check_status(instance, "wh/s/a", "not_null") == "FAILED"
    assert check_metadata(instance, "wh/s/a", "not_null")["Execution Timestamp"] == 1000.0


def use(name: str, arguments: str | None, blocking: bool = True) -> dict[str, Any]:
    """An audit as a model uses it, as the newest recorder reports it."""
    return {"name": name, "args": arguments, "blocking": blocking, "query": f"@{name}(@this_model)"}


ID, DAY = "columns := (id)", "columns := (day)"
OF_DAY = "not_null_columns_day_77562675"


def test_an_audit_with_other_arguments_is_a_check_of_its_own(cloud: Cloud, load: Any, instance: Any) -> None:
    twice = [use("not_null", ID), use("not_null", DAY), use("few_rows", None, blocking=False)]
    cloud.environment(
        model("a", audits=("not_null", "few_rows"), details=twice),
        model("old", audits=("not_null",)),  # as an old recorder reports it
        standalone("no_orphans", "a", description="Orders have customers.", details=[use("no_orphans", None, False)]),
    )
    run = cloud.run("r1")
    run.started("a")
    run.audited("a", "not_null", args=ID, blocking=True)
    run.audited("a", "not_null", args=DAY, blocking=True, passed=False, count=7, log="SELECT 1")
    run.ended("a", "failed", "audit not_null failed")
    run.started("old")
    run.audited("old", "not_null", args=ID, passed=False)
    run.audited("old", "not_null", args=DAY)
    run.ended("old")
    run.end("failed", "1 model failed")

    defs = load()
    (checks,) = defs.asset_checks or ()
    specs = {(spec.asset_key.path[-1], spec.name): spec for spec in checks.check_specs}
    assert {name for asset, name in specs if asset == "a"} == {"not_null", OF_DAY, "few_rows", "no_orphans"}
    assert {name for asset, name in specs if asset == "old"} == {"not_null"}
    link = specs["a", OF_DAY].metadata["Link"].value
    assert link.startswith(cloud.base_url)
    described = {name: specs["a", name].description.split("\n\n") for name in ("not_null", "few_rows", "no_orphans")}
    again = '"Execute" reports the newest result that was recorded once more; it does not run the audit.'
    assert described == {
        "not_null": [f"not_null({ID})", f"Its failure fails the evaluation of the model. {again}"],
        "few_rows": ["few_rows", f"Its failure is a warning. {again}"],
        "no_orphans": ["Orders have customers.", f"Its failure is a warning. {again}"],
    }
    assert dict(specs["a", OF_DAY].metadata) == {
        "Arguments": DAY,
        "Blocking": True,
        "Query": "@not_null(@this_model)",
        "Link": dg.MetadataValue.url(link),
    }
    # What no cloud but a local one with a new recorder says.
    assert set(specs["old", "not_null"].metadata) == {"Link"}
    assert specs["old", "not_null"].description == f"not_null\n\n{again}"
    assert not any(spec.blocking for spec in specs.values())

    assert not run_job(defs, instance).success
    assert check_status(instance, "wh/s/a", "not_null") == "SUCCEEDED"
    assert check_status(instance, "wh/s/a", OF_DAY) == "FAILED"
    failed = check_metadata(instance, "wh/s/a", OF_DAY)
    assert (failed["Failing Rows"], failed["Arguments"], failed["Query"]) == (7, DAY, "SELECT 1")
    assert failed["Blocking"] is True
    # The DAG says no arguments: the results of both are the one check, the worse one.
    assert check_status(instance, "wh/s/old", "not_null") == "FAILED"
    assert check_metadata(instance, "wh/s/old", "not_null")["Arguments"] == ID

    result = execute(defs, instance, OF_DAY)
    assert set(result.checks()) == {("wh/s/a", OF_DAY)}


def test_results_without_arguments_are_those_of_the_plain_check(cloud: Cloud, load: Any, instance: Any) -> None:
    """An environment from a new recorder, runs from an old one."""
    cloud.environment(model("a", audits=("not_null",), details=[use("not_null", ID), use("not_null", DAY)]))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.end()
    assert run_job(load(), instance).success
    assert check_status(instance, "wh/s/a", "not_null") == "SUCCEEDED"
    assert check_status(instance, "wh/s/a", OF_DAY) is None


class Blocking(DagsterSQLMeshTranslator):
    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> dg.AssetCheckSpec | None:
        return super().get_asset_check_spec(audit, asset_key)._replace(blocking=True)


def test_where_a_translator_lets_checks_block_each_selected_one_is_reported(
    definitions: Any, script: Any, instance: Any
) -> None:
    names = ("a_bad", "b_good", "c_bad", "d_warns", "e_good")
    defs = definitions(s.manifest(s.node("a", checks=names)), translator=Blocking())
    assert all(spec.blocking for (checks,) in [defs.asset_checks] for spec in checks.check_specs)
    bad = {"passed": False, "severity": "ERROR"}
    script(
        sync=s.whole(
            s.checked("a", "a_bad", "e1", 1000.0, **bad),
            s.checked("a", "b_good", "e1", 1000.0),
            s.checked("a", "c_bad", "e1", 1000.0, **bad),
            s.checked("a", "d_warns", "e1", 1000.0, passed=False),
            s.checked("a", "e_good", "e1", 1000.0),
            s.task("a", "failure", checks=5),
            s.done(),
        )
    )
    result = execute(defs, instance, *names)
    assert not result.success
    text = str(result.failure("tobiko_cloud_checks_prod"))
    assert "blocking checks failed: a_bad on wh/s/a, c_bad on wh/s/a" in text
    statuses = {name: check_status(instance, "wh/s/a", name) for name in names}
    assert statuses == {
        "a_bad": "FAILED",
        "b_good": "SUCCEEDED",
        "c_bad": "FAILED",
        "d_warns": "FAILED",
        "e_good": "SUCCEEDED",
    }
    measured = "Measured 1970-01-01 00:16:40 UTC, reported again."
    assert {evaluation.description for evaluation in result.checks().values()} == {measured}
    assert execute(defs, instance, "b_good", "d_warns").success


def test_checks_do_not_block(definitions: Any) -> None:
    (checks,) = definitions(s.manifest(s.node("a", checks=("x", "y")), s.node("b", checks=("x",)))).asset_checks
    assert [spec.blocking for spec in checks.check_specs] == [False, False, False]
    assert checks.can_subset
