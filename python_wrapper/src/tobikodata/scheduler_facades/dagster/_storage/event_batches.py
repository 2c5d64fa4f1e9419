"""Events written to PostgreSQL in batches.

An event takes Dagster 3 to 13 round trips. Here, events wait in memory for a moment, then all of them are inserted by
one statement, and the index of assets and checks is brought up to date in one transaction, by Dagster's own methods.
Who reads from the event log in this process, or changes the state of the run, has what waits written before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import dagster as dg

from .. import _internals
from .connections import event_log_storage, kept_connections

_LOG = logging.getLogger(__name__)
# What waits is written when it is so many events, or when the first of them is so old, in seconds.
_MOST = 200
_OLDEST_S = 0.5
# How long a database may be away, in seconds.
_PATIENCE_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0

_Kind = dg.DagsterEventType
_ASSET_EVENTS = frozenset({_Kind.ASSET_MATERIALIZATION, _Kind.ASSET_MATERIALIZATION_PLANNED})
_CHECK_EVENTS = frozenset({_Kind.ASSET_CHECK_EVALUATION, _Kind.ASSET_CHECK_EVALUATION_PLANNED})
# These change nothing but the event log, and its index of assets and checks.
_MAY_WAIT = (
    _ASSET_EVENTS
    | _CHECK_EVENTS
    | {
        _Kind.STEP_START,
        _Kind.STEP_INPUT,
        _Kind.STEP_OUTPUT,
        _Kind.STEP_SUCCESS,
        _Kind.STEP_FAILURE,
        _Kind.STEP_SKIPPED,
        _Kind.LOGS_CAPTURED,
    }
)

Flush = Callable[[], None]


@contextmanager
def batched_events(instance: dg.DagsterInstance) -> Iterator[Flush]:
    """Keeps connections and batches events within the block. Yields what writes those that wait."""
    with kept_connections(instance):
        storage = event_log_storage(instance)
        if not _internals.is_postgres_event_log(storage):
            yield lambda: None
            return
        batches = EventBatches(storage)
        with batches.installed():
            yield batches.flush


class EventBatches:
    """The events of one run worker that wait."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._store_event = storage.store_event
        self._connect = storage._connect
        self._waiting: list[Any] = []
        self._since = 0.0
        # Log lines come from other threads, too.
        self._lock = threading.RLock()
        # The connection of the transaction that is being written.
        self._connection: Any = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Puts the storage's methods for storing and connecting through this object, within the block."""
        self._storage.store_event = self.store_event
        self._storage._connect = self.connect
        try:
            yield
            self.flush()
        except BaseException:
            self._flush_after_error()
            raise
        finally:
            del self._storage.store_event, self._storage._connect

    def store_event(self, event: Any) -> None:
        """In place of the storage's own method."""
        with self._lock:
            if event.is_dagster_event and event.dagster_event_type not in _MAY_WAIT:
                self.flush()
                self._store_event(event)
                return
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append(event)
            if len(self._waiting) >= _MOST or time.monotonic() - self._since > _OLDEST_S:
                self.flush()

    def connect(self) -> Any:
        """In place of the storage's own method: who reads finds what was stored before."""
        with self._lock:
            if self._connection is not None:
                return nullcontext(self._connection)
            self.flush()
        return self._connect()

    def flush(self) -> None:
        """Writes what waits; where the database goes away meanwhile, what is missing is written when it is back."""
        with self._lock:
            # A read while a batch is written, by Dagster's own methods: what waits now is younger than the batch.
            if self._connection is not None or not self._waiting:
                return
            batch = _Batch(self._waiting)
            self._waiting = []
            deadline, wait_s = time.monotonic() + _PATIENCE_S, _FIRST_WAIT_S
            while True:
                try:
                    self._write(batch)
                    return
                except Exception as error:
                    if not _may_pass(error) or time.monotonic() > deadline:
                        raise
                    _LOG.warning("the database is away, %d events wait: %s", len(batch.events), error)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def _flush_after_error(self) -> None:
        try:
            self.flush()
        except Exception as error:  # what is under way says more
            _LOG.error("events could not be written: %s", error)

    def _write(self, batch: _Batch) -> None:
        with self._connect() as connection:
            if batch.is_sent:
                batch.ids = self._find(connection, batch.events)
            if not batch.ids:
                batch.is_sent = True
                batch.ids = self._insert(connection, batch.events)
        with self._connect() as autocommitting:
            connection = autocommitting.execution_options(isolation_level="READ COMMITTED")
            with connection.begin():
                self._connection = connection
                try:
                    self._index(batch)
                finally:
                    self._connection = None

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

    def _index(self, batch: _Batch) -> None:
        for event, event_id in _indexed(batch.events, batch.ids):
            if event.dagster_event_type in _CHECK_EVENTS:
                self._storage.store_asset_check_event(event, event_id)
            else:
                self._storage.store_asset_event(event, event_id)
                self._storage.store_asset_event_tags([event], [event_id])


class _Batch:
    """Events that are written together, and how far that is."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events
        # Whether they may be in the database, and their ids, once these are known.
        self.is_sent = False
        self.ids: list[int] = []


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
        if kind in _ASSET_EVENTS or kind in _CHECK_EVENTS:
            indexed.append((event, event_id))
    return sorted(reversed(indexed), key=_asset)


def _asset(indexed: tuple[Any, int]) -> str:
    data = indexed[0].dagster_event
    return str((data.asset_key or data.event_specific_data.asset_key).to_string())


def _may_pass(error: BaseException) -> bool:
    """Whether it may work when it is tried again: the database was away, or had two writers wait for each other."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        # Of PostgreSQL: class 57P is the operator's intervention, 08 a failed connection, 40 a conflict.
        code = str(getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None) or "")
        return error.connection_invalidated or code.startswith(("57P", "08", "40"))
    return _internals.is_no_postgres_connection(error)
