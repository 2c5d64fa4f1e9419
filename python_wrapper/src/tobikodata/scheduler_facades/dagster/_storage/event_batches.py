"""Events written in batches, to SQLite and to PostgreSQL, where Dagster writes them one by one.

Events wait in memory for a moment, then they are written together, in their order. Who reads from the event log in this
process, or changes the state of the run, has what waits written before.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import dagster as dg

from .. import _internals
from .batch import ASSET_EVENTS, CHECK_EVENTS, Batch
from .connections import event_log_storage, kept_connections, tables_seen_once
from .postgres_writer import PostgresWriter
from .sqlite_writer import SqliteWriter

_LOG = logging.getLogger(__name__)
# What waits is written when it is so many events, or when the first of them is so old, in seconds.
_MOST = 200
_OLDEST_S = 0.5
# How long a database may be away, in seconds.
_PATIENCE_S = 60.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0

_Kind = dg.DagsterEventType
# These change nothing but the event log, and its index of assets and checks.
_MAY_WAIT = (
    ASSET_EVENTS
    | CHECK_EVENTS
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
        writer = _writer_of(storage)
        if writer is None:
            yield lambda: None
            return
        batches = EventBatches(storage, writer)
        with tables_seen_once(storage), batches.installed():
            yield batches.flush


def _writer_of(storage: Any) -> PostgresWriter | SqliteWriter | None:
    """None for a storage that is not Dagster's own: it stays as it is."""
    if _internals.is_postgres_event_log(storage):
        return PostgresWriter(storage)
    if _internals.is_sqlite_event_log(storage):
        return SqliteWriter(storage)
    return None


class EventBatches:
    """The events of one run worker that wait."""

    def __init__(self, storage: Any, writer: PostgresWriter | SqliteWriter) -> None:
        self._storage = storage
        self._writer = writer
        self._store_event = storage.store_event
        self._connect = storage._connect
        self._waiting: list[Any] = []
        self._since = 0.0
        self._is_writing = False
        # Log lines come from other threads, too.
        self._lock = threading.RLock()

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

    def connect(self, *database: str) -> Any:
        """In place of the storage's own method: who reads finds what was stored before."""
        with self._lock:
            connection = self._writer.connection(*database)
            if connection is not None:
                return nullcontext(connection)
            self.flush()
        return self._connect(*database)

    def flush(self) -> None:
        """Writes what waits; where the database goes away meanwhile, what is missing is written when it is back."""
        with self._lock:
            if self._is_writing or not self._waiting:
                return
            batch = Batch(self._waiting)
            self._waiting = []
            self._is_writing = True
            try:
                self._write(batch)
            finally:
                self._is_writing = False

    def _write(self, batch: Batch) -> None:
        deadline, wait_s = time.monotonic() + _PATIENCE_S, _FIRST_WAIT_S
        while True:
            try:
                self._writer.write(batch)
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


def _may_pass(error: BaseException) -> bool:
    """Whether it may work when it is tried again: the database was away, or had two writers wait for each other."""
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        if "database is locked" in str(error.orig):  # of SQLite, by another process
            return True
        # Of PostgreSQL: class 57P is the operator's intervention, 08 a failed connection, 40 a conflict.
        code = str(getattr(error.orig, "pgcode", None) or getattr(error.orig, "sqlstate", None) or "")
        return error.connection_invalidated or code.startswith(("57P", "08", "40"))
    return _internals.is_no_postgres_connection(error)
