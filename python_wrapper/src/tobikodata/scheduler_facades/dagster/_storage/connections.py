"""A run worker that keeps its connections to PostgreSQL or MySQL.

Dagster opens a connection for each group of statements, and closes it again, except in its webserver, whose storages
keep theirs (`optimize_for_webserver`). Across a network, most of a run's time goes into that. Storages in files, and
those that are not Dagster's own, stay as they are.
"""

from __future__ import annotations

import inspect
import logging
import select
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dagster as dg

_LOG = logging.getLogger(__name__)
_NETWORKED = ("postgresql", "mysql")
# Connections are closed after this, in seconds: no firewall should have forgotten one before.
_RECYCLE_S = 600
# Beside the one that is kept, when more are needed at once: a run must not wait for a connection in vain.
_MOST_MORE = 100
# A connection that was idle for longer, in seconds, is asked whether the server still knows it.
_IDLE_S = 5.0
_IDLE_SINCE = "tobiko_idle_since"


@contextmanager
def kept_connections(instance: dg.DagsterInstance) -> Iterator[None]:
    """Keeps the connections of the instance's event log and run storage within the block. Nothing remains of it."""
    with ExitStack() as stack:
        for storage in dict.fromkeys((event_log_storage(instance), run_storage(instance))):
            try:
                stack.enter_context(_kept(storage))
            except Exception as error:  # of a version that is not known here: all works as without it
                _LOG.debug("connections of %s are not kept: %s", type(storage).__name__, error)
        yield


def event_log_storage(instance: dg.DagsterInstance) -> Any:
    """The storage that has the tables, without Dagster's wrapper around it."""
    return _unwrapped(instance.event_log_storage, "event_log_storage")


def run_storage(instance: dg.DagsterInstance) -> Any:
    """The storage that has the tables, without Dagster's wrapper around it."""
    return _unwrapped(instance.run_storage, "run_storage")


def _unwrapped(storage: Any, name: str) -> Any:
    together = getattr(storage, "_storage", None)
    return getattr(together, name, None) or storage


@contextmanager
def _kept(storage: Any) -> Iterator[None]:
    engine = getattr(storage, "_engine", None)
    if engine is None or engine.dialect.name not in _NETWORKED or type(engine.pool).__name__ != "NullPool":
        yield
        return
    from sqlalchemy import event

    settings = {"statement_timeout": 0, "pool_recycle": _RECYCLE_S, "max_overflow": _MOST_MORE}
    taken = inspect.signature(storage.optimize_for_webserver).parameters  # 1.9.1 has no max_overflow
    try:
        storage.optimize_for_webserver(**{name: value for name, value in settings.items() if name in taken})
        event.listen(storage._engine, "checkout", _assert_alive)
        event.listen(storage._engine, "checkin", _note_idle)
        yield
    finally:
        pooled, storage._engine = storage._engine, engine
        if pooled is not engine:
            pooled.dispose()


@contextmanager
def tables_seen_once(storage: Any) -> Iterator[None]:
    """Asks once for a table that is there: some versions take a connection for each check result, and lose it."""
    has_table = getattr(storage, "has_table", None)
    if has_table is None:
        yield
        return
    seen: set[str] = set()

    def has_table_once(name: str) -> bool:
        if name not in seen and has_table(name):
            seen.add(name)
        return name in seen

    storage.has_table = has_table_once
    try:
        yield
    finally:
        del storage.has_table


def _note_idle(_connection: Any, record: Any) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


def _assert_alive(connection: Any, record: Any, _proxy: Any) -> None:
    """A server that was restarted has closed its connections: SQLAlchemy opens another for a disconnection here.

    A round trip for each use would take back half of what keeping connections gains. A connection that was closed has
    something to read, and nothing else should be there to read.
    """
    from sqlalchemy.exc import DisconnectionError

    since = record.info.get(_IDLE_SINCE)
    if since is None:
        return
    try:
        if hasattr(connection, "fileno"):
            if select.select([connection.fileno()], [], [], 0)[0]:
                raise DisconnectionError("the database has closed the connection")
            if time.monotonic() - since < _IDLE_S:
                return
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.fetchall()
        cursor.close()
    except DisconnectionError:
        raise
    except Exception as error:  # of whichever driver
        raise DisconnectionError(str(error)) from None
