"""Freshness policies: the longest gap of a model's cron, and some slack."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from tobikodata.scheduler_facades.dagster import _internals
from tobikodata.scheduler_facades.dagster._freshness import SQLMeshFreshness, longest_gap

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
