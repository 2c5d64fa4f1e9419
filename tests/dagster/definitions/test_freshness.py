"""Freshness policies: the longest gap of a model's cron, and some slack."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import SYNC, run_job
from recorded_cloud import Cloud, model

from tobikodata.scheduler_facades.dagster import DagsterSQLMeshTranslator, SQLMeshFreshness, _internals
from tobikodata.scheduler_facades.dagster._freshness import longest_gap

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/5 * * * *", timedelta(minutes=5)),
        ("@hourly", HOUR),
        ("@daily", DAY),
        (" @Weekly ", 7 * DAY),
        ("@monthly", 31 * DAY),
        ("@yearly", 366 * DAY),
        ("0 6 * * 1-5", 3 * DAY),  # over the weekend
        ("0 6 * * MON-FRI", 3 * DAY),
        ("*/10 9-17 * * 1-5", 2 * DAY + 15 * HOUR + timedelta(minutes=10)),
        ("* * * * *", timedelta(minutes=1)),
        ("* * 1 * *", 30 * DAY + timedelta(minutes=1)),
        ("0 0,1 * * *", 23 * HOUR),
        ("0 0 29 2 *", 4 * 365 * DAY + DAY),
        ("0 0 1 * 1", 7 * DAY),  # the first of the month, and each Monday
        ("@reboot", None),
        ("0 0 * * * *", None),  # with seconds
        ("never", None),
        ("0 0 31 2 *", None),
    ],
)
def test_the_longest_gap_of_a_cron(cron: str, expected: timedelta | None) -> None:
    assert longest_gap(cron) == expected


@pytest.mark.fast
def test_slack_is_a_duration() -> None:
    for wrong in (timedelta(seconds=-1), 3600, None):
        with pytest.raises(ValueError, match="is no duration"):
            SQLMeshFreshness(slack=wrong)  # type: ignore[arg-type]
    assert SQLMeshFreshness().policy(None) is None
    policy = SQLMeshFreshness(slack=HOUR).policy("@daily")
    if _internals.HAS_FRESHNESS_POLICIES:
        assert policy == dg.FreshnessPolicy.time_window(fail_window=25 * HOUR)
    else:
        assert policy is None


def policies(defs: dg.Definitions) -> dict[str, Any]:
    """By asset; without those that have none."""
    specs = defs.get_all_asset_specs() if hasattr(defs, "get_all_asset_specs") else defs.assets or ()
    return {spec.key.path[-1]: spec.freshness_policy for spec in specs if spec.freshness_policy}


class Mine(DagsterSQLMeshTranslator):
    def get_asset_spec(self, model: Any) -> dg.AssetSpec | None:
        spec = super().get_asset_spec(model)
        if spec is None or model.table != "own" or not _internals.HAS_FRESHNESS_POLICIES:
            return spec
        return _internals.replace_attributes(
            spec, freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=9))
        )


def test_models_with_a_cron_get_a_policy(cloud: Cloud, load: Any) -> None:
    """What the recorder says of a model arrives at its asset."""
    cloud.environment(
        {**model("daily"), "cron": "@daily"},
        {**model("own"), "cron": "@daily"},
        {**model("seed", source_type="seed"), "cron": None},
        model("unknown"),
    )
    assert policies(load()) == {}
    found = policies(load(freshness=SQLMeshFreshness(slack=HOUR), translator=Mine()))
    if _internals.HAS_FRESHNESS_POLICIES:
        windows = {name: policy.fail_window.to_timedelta() for name, policy in found.items()}
        assert windows == {"daily": 25 * HOUR, "own": 9 * DAY}
    else:
        assert found == {}


@pytest.mark.skipif(not _internals.HAS_FRESHNESS_POLICIES, reason="this Dagster has no policies by time")
def test_the_policy_goes_by_the_time_of_the_evaluation(definitions: Any, script: Any, instance: Any) -> None:
    from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
    from dagster._core.loader import LoadingContextForTest

    nodes = (s.node("old", cron="@daily"), s.node("young", cron="@daily"))
    defs = definitions(s.manifest(*nodes), freshness=SQLMeshFreshness())
    now = time.time()
    script(sync=s.whole(s.success("old", at=now - 27 * 3600), s.success("young", at=now - 25 * 3600), s.done()))
    assert run_job(defs, instance, SYNC).success
    graph = defs.resolve_asset_graph()
    states = {}
    for name in ("old", "young"):
        node = graph.get(dg.AssetKey(["wh", "s", name]))
        evaluated = TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(LoadingContextForTest(instance), node)
        states[name] = asyncio.run(evaluated).value
    assert states == {"old": "FAIL", "young": "PASS"}
