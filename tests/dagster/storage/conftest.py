"""An instance of Dagster in SQLite, and one in PostgreSQL behind a proxy that counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from delaying_proxy import DelayingProxy, delaying_proxy
from postgres import Postgres


@pytest.fixture
def proxy(postgres_server: Postgres) -> Iterator[DelayingProxy]:
    with delaying_proxy(postgres_server.socket, rtt_s=0.0) as proxy:
        yield proxy


@pytest.fixture
def in_postgres(
    postgres_server: Postgres, empty_database: str, proxy: DelayingProxy, home: Path
) -> Iterator[dg.DagsterInstance]:
    database = postgres_server.create_database(empty_database)
    (home / "dagster.yaml").write_text(
        "telemetry:\n  enabled: false\n" + postgres_server.dagster_yaml(database, proxy.port)
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture(params=["sqlite", "postgres"])
def instance(request: pytest.FixtureRequest, home: Path) -> Iterator[dg.DagsterInstance]:
    """Each of them."""
    if request.param == "postgres":
        yield request.getfixturevalue("in_postgres")
        return
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance
