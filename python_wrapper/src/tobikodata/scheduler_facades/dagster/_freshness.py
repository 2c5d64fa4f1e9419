"""How old a model's data may be: a freshness policy for each model whose cron is known.

A model is as old as its last evaluation. In between it may be as old as the longest gap of its cron; only what is older
than that has missed an evaluation.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from itertools import takewhile
from typing import Any

import dagster as dg

from . import _internals

logger = logging.getLogger(__name__)

# What a cron may be instead of five fields.
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# A span with every gap between two dates, that from one 29 February to the next among them.
_FIRST, _LAST = datetime(2023, 3, 1, tzinfo=timezone.utc), datetime(2028, 3, 1, tzinfo=timezone.utc)
# Dagster accepts no shorter window.
_SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True)
class SQLMeshFreshness:
    """A freshness policy for each model that has a cron; seeds, external models and the rest get none.

    The policy fails when the model's last evaluation is longer ago than the longest gap of its cron, plus the slack.

    Attributes:
        slack: How long after a model is due its evaluation may end. It covers the time until SQLMesh is run, the
            evaluation, and, for models whose cron is in a time zone, the hour by which one day of the year is longer.
    """

    slack: timedelta = timedelta(hours=2)

    def __post_init__(self) -> None:
        if not isinstance(self.slack, timedelta) or self.slack < timedelta(0):
            raise ValueError(f"slack={self.slack!r} is no duration: give e.g. timedelta(hours=2)")

    def policy(self, cron: str | None) -> Any:
        """The `dagster.FreshnessPolicy` of a model with this cron; None without one, and before Dagster 1.12."""
        if not _internals.HAS_FRESHNESS_POLICIES:
            _debug_once()
            return None
        gap = longest_gap(cron) if cron else None
        if gap is None:
            return None
        return dg.FreshnessPolicy.time_window(fail_window=max(gap + self.slack, _SHORTEST))


@cache
def longest_gap(cron: str) -> timedelta | None:
    """The longest time between two ticks, in UTC; None for what is no cron of five fields, or ticks only once."""
    fields = _NICKNAMES.get(cron.strip().lower(), cron).split()
    if len(fields) != 5 or not _internals.is_valid_cron_string(" ".join(fields)):
        return None
    # Every day on which it ticks, it ticks at the same times: that is much less to look at than all ticks.
    try:
        times = _ticks(" ".join([*fields[:2], "* * *"]), _FIRST + timedelta(days=1))
        days = _ticks(" ".join(["0 0", *fields[2:]]), _LAST)
    except ValueError:  # of an older Dagster: a day that there never is
        return None
    within = [later - earlier for earlier, later in zip(times, times[1:])]
    between = [later - earlier - (times[-1] - times[0]) for earlier, later in zip(days, days[1:])]
    return max([*within, *between], default=None)


def _ticks(cron: str, before: datetime) -> list[datetime]:
    ticks = _internals.cron_string_iterator(_FIRST.timestamp(), cron, "UTC")
    return list(takewhile(lambda tick: tick < before, ticks))


@cache
def _debug_once() -> None:
    logger.debug("Dagster %s has no freshness policies by time (1.12 has): models get none", dg.__version__)
