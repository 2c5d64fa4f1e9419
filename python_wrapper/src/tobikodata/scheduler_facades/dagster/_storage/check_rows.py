"""The rows of check results in Dagster's index, inserted together.

Dagster has one row for each check and run: a planned check inserts it, its result updates it, and inserts it where
nothing was planned. That takes one round trip or two for each result. Here, what is not there yet is inserted by one
statement for a whole batch; Dagster's own methods say what is in the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from .. import _internals

_Kind = dg.DagsterEventType
_Key = tuple[str, str, str]


class CheckRows:
    """Those of one batch, for as long as its transaction is open."""

    def __init__(self, storage: Any, connection: Any, events: Sequence[Any]) -> None:
        self._insert_one = getattr(storage, "_store_runless_asset_check_evaluation", None)
        self._connection = connection
        self._table = _internals.check_table()
        self._collected: list[dict[str, Any]] = []
        self._results = {_key(event) for event in events if event.dagster_event_type == _Kind.ASSET_CHECK_EVALUATION}
        self._present = self._read(events)

    def is_overwritten(self, event: Any) -> bool:
        """Whether it is a planned check whose result comes in the same batch."""
        is_planned = event.dagster_event_type == _Kind.ASSET_CHECK_EVALUATION_PLANNED
        return is_planned and self._insert_one is not None and _key(event) in self._results

    def is_new(self, event: Any) -> bool:
        """Whether it is a result that has no row yet: `insert` is for it."""
        is_result = event.dagster_event_type == _Kind.ASSET_CHECK_EVALUATION
        return is_result and self._insert_one is not None and _key(event) not in self._present

    def insert(self, event: Any, event_id: int) -> None:
        """Collects the row. The storage must get this object for a connection meanwhile."""
        self._insert_one(event, event_id)  # type: ignore[misc]
        self._present.add(_key(event))

    def execute(self, statement: Any) -> None:
        """In place of a connection's: an insertion into the table of checks waits for `send`."""
        if not statement.is_insert or statement.table is not self._table:
            raise RuntimeError("something else than the row of a check was to be inserted")
        self._collected.append(statement.compile().params)

    def send(self) -> None:
        """Inserts what was collected."""
        if self._collected:
            self._connection.execute(self._table.insert(), self._collected)
            self._collected = []

    def _read(self, events: Sequence[Any]) -> set[_Key]:
        keys = {_key(event) for event in events}
        if not keys:
            return set()
        columns = self._table.c
        query = (
            self._table.select()
            .with_only_columns(columns.run_id, columns.asset_key, columns.check_name)
            .where(columns.asset_key.in_({key[1] for key in keys}), columns.run_id.in_({key[0] for key in keys}))
        )
        return {(row.run_id, row.asset_key, row.check_name) for row in self._connection.execute(query)}


def _key(event: Any) -> _Key:
    data = event.dagster_event.event_specific_data
    return event.run_id, data.asset_key.to_string(), data.check_name
