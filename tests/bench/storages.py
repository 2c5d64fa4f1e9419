"""Where Dagster keeps its instance: SQLite files, as it does by default, or a PostgreSQL of the bench's own at a distance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import cloud  # noqa: F401  # makes tests/support importable
from delaying_proxy import DelayingProxy, Traffic, delaying_proxy
from postgres import Postgres, postgres


@dataclass(frozen=True)
class Sqlite:
    label: str = ""

    def configuration(self) -> str:
        """What the dagster.yaml of one more instance says of its storage."""
        return ""

    def traffic(self) -> Traffic:
        return Traffic(0, 0, 0)


@dataclass(frozen=True)
class DistantPostgres:
    """One server, behind a network with a round trip of its own."""

    server: Postgres
    proxy: DelayingProxy
    rtt_ms: float

    @property
    def label(self) -> str:
        return f", PostgreSQL at {self.rtt_ms:g} ms"

    def configuration(self) -> str:
        """What the dagster.yaml of one more instance says of its storage."""
        return self.server.dagster_yaml(self.server.create_database(), self.proxy.port)

    def traffic(self) -> Traffic:
        return self.proxy.traffic()


Storage = Sqlite | DistantPostgres


@contextmanager
def storages(kind: str, rtts_ms: Sequence[float]) -> Iterator[list[Storage]]:
    with ExitStack() as stack:
        if kind == "sqlite":
            yield [Sqlite()]
            return
        server = stack.enter_context(postgres())
        yield [
            DistantPostgres(server, stack.enter_context(delaying_proxy(server.socket, rtt_ms / 1000)), rtt_ms)
            for rtt_ms in rtts_ms
        ]
