"""A batch of events, written to SQLite.

Dagster opens a database and commits for each event, and for an asset or check event two or three times: in the run's
own database and in the index. Here, Dagster's own method stores all events of a batch in one transaction of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from .batch import Batch

_INDEX = "index"
# How long another process may hold a database, in seconds.
_BUSY_S = 30


class SqliteWriter:
    """Writes through the methods of one event log."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._store_event = storage.store_event
        self._connect = storage._connect
        # Of the batch that is being written: one for each database.
        self._connections: dict[str, Any] = {}

    def connection(self, shard: str) -> Any:
        """What the storage gets for a connection to this database while a batch is written; None: none is."""
        return self._connections.get(shard)

    def write(self, batch: Batch) -> None:
        """Writes the batch: nothing of it, if that fails."""
        with ExitStack() as stack:
            for shard in dict.fromkeys([_INDEX, *(event.run_id for event in batch.events)]):
                stack.enter_context(self._open(shard))
            for event in batch.events:
                self._store_event(event)

    @contextmanager
    def _open(self, shard: str) -> Iterator[None]:
        """One transaction. Not by the storage's own method, which has one database open at a time."""
        from sqlalchemy import create_engine
        from sqlalchemy.pool import NullPool

        if shard not in self._storage._initialized_dbs:
            with self._connect(shard):  # makes its tables
                pass
        url = self._storage.conn_string_for_shard(shard)
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": _BUSY_S})
        try:
            with engine.begin() as connection:
                self._connections[shard] = connection
                yield
        finally:
            self._connections.pop(shard, None)
            engine.dispose()
