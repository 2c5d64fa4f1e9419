"""A batch of events, written to PostgreSQL.

An event takes Dagster 3 to 13 round trips. Here, one statement inserts all events of a batch, and one transaction
brings the index of assets and checks up to date, by Dagster's own methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from .. import _internals
from .batch import ASSET_EVENTS, CHECK_EVENTS, Batch
from .check_rows import CheckRows

_Kind = dg.DagsterEventType


class PostgresWriter:
    """Writes through the methods of one event log, on one connection."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._connect = storage._connect
        # The connection of the transaction that is being written, or what stands for it.
        self._connection: Any = None

    def connection(self) -> Any:
        """What the storage gets for a connection while a batch is written; None: none is."""
        return self._connection

    def write(self, batch: Batch) -> None:
        """Writes what of the batch is not written yet."""
        with self._connect() as connection:
            if batch.is_sent:
                batch.ids = self._find(connection, batch.events)
            if not batch.ids:
                batch.is_sent = True
                batch.ids = self._insert(connection, batch.events)
        with self._connect() as autocommitting:
            connection = autocommitting.execution_options(isolation_level="READ COMMITTED")
            with connection.begin(), self._on(connection):
                self._index(batch, connection)

    @contextmanager
    def _on(self, connection: Any) -> Iterator[None]:
        before, self._connection = self._connection, connection
        try:
            yield
        finally:
            self._connection = before

    def _insert(self, connection: Any, events: Sequence[Any]) -> list[int]:
        """In one statement, which commits itself: who polls for ids finds all of them at once, as those of one event.

        Between the first and the last of a transaction, others would write events with higher ids, and who has read
        these would not look for the lower ones again.
        """
        statement = self._storage.prepare_insert_event_batch(events).returning(_internals.event_table().c.id)
        ids = [int(row[0]) for row in connection.execute(statement).fetchall()]
        if ids != sorted(ids) or len(ids) != len(events):
            raise RuntimeError("the database has not numbered the events in their order")
        return ids

    def _find(self, connection: Any, events: Sequence[Any]) -> list[int]:
        """The ids of events of which it is not known whether they arrived: all or none did."""
        table = _internals.event_table()
        rows = [self._storage._event_to_row(event) for event in events]
        of_their_runs = table.c.run_id.in_({row["run_id"] for row in rows})
        as_written = table.c.event.in_([row["event"] for row in rows])
        query = table.select().where(of_their_runs, as_written).order_by(table.c.id)
        found = [int(row.id) for row in connection.execute(query)]
        return found if len(found) == len(events) else []

    def _index(self, batch: Batch, connection: Any) -> None:
        indexed = _indexed(batch.events, batch.ids)
        of_checks = [event for event, _ in indexed if event.dagster_event_type in CHECK_EVENTS]
        rows = CheckRows(self._storage, connection, of_checks)
        for event, event_id in indexed:
            if event.dagster_event_type in ASSET_EVENTS:
                self._storage.store_asset_event(event, event_id)
                self._storage.store_asset_event_tags([event], [event_id])
            elif rows.is_new(event):
                with self._on(rows):
                    rows.insert(event, event_id)
            elif not rows.is_overwritten(event):
                rows.send()
                self._storage.store_asset_check_event(event, event_id)
        rows.send()


def _indexed(events: Sequence[Any], ids: Sequence[int]) -> list[tuple[Any, int]]:
    """The events that an index has, with their ids: asset by asset, and within one in the order of writing.

    Two runs that lock the same assets in different orders would wait for each other. Left out are announcements that a
    later materialization overwrites.
    """
    indexed: list[tuple[Any, int]] = []
    materialized: set[Any] = set()
    for event, event_id in reversed(list(zip(events, ids))):
        kind = event.dagster_event_type if event.is_dagster_event else None
        if kind == _Kind.ASSET_MATERIALIZATION:
            materialized.add(event.dagster_event.asset_key)
        elif kind == _Kind.ASSET_MATERIALIZATION_PLANNED and event.dagster_event.asset_key in materialized:
            continue
        if kind in ASSET_EVENTS or kind in CHECK_EVENTS:
            indexed.append((event, event_id))
    return sorted(reversed(indexed), key=_asset)


def _asset(indexed: tuple[Any, int]) -> str:
    data = indexed[0].dagster_event
    return str((data.asset_key or data.event_specific_data.asset_key).to_string())
