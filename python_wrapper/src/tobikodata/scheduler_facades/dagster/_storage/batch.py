"""Events that are written together."""

from __future__ import annotations

from typing import Any

import dagster as dg

_Kind = dg.DagsterEventType
ASSET_EVENTS = frozenset({_Kind.ASSET_MATERIALIZATION, _Kind.ASSET_MATERIALIZATION_PLANNED})
CHECK_EVENTS = frozenset({_Kind.ASSET_CHECK_EVALUATION, _Kind.ASSET_CHECK_EVALUATION_PLANNED})


class Batch:
    """The events, in the order in which they happened, and how far the writing is."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        # Whether they may be in the database, and their ids, once these are known.
        self.is_sent = False
        self.ids: list[int] = []
