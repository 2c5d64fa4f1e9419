"""Each event says which project and which state it belongs to, and reveals no secret."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from project import Project
from receiver import Receiver
from sqlmesh.core.config import Config, DuckDBConnectionConfig, GatewayConfig, PostgresConnectionConfig

from tobikodata.sqlmesh_recorder._project import project_fields, project_fields_of_files

pytestmark = pytest.mark.fast


def config(**options: Any) -> Config:
    connection = DuckDBConnectionConfig(database="warehouse.db")
    gateways = {"main": GatewayConfig(connection=connection), "other": GatewayConfig(connection=connection)}
    return Config(**{"gateways": gateways, "default_gateway": "main", **options})


def name_of(*configs: Config, gateway: str | None = None) -> str:
    return str(project_fields(dict(enumerate(configs)), gateway)["project"])


def state_of(connection: Any, schema: str | None = None) -> Any:
    gateway = GatewayConfig(connection=DuckDBConnectionConfig(), state_connection=connection, state_schema=schema)
    return project_fields({"": Config(gateways={"main": gateway})}, None).get("state")


def postgres(**changes: Any) -> PostgresConnectionConfig:
    settings = {"host": "db", "port": 5432, "user": "me", "password": "hush", "database": "state"}
    # Without a check that Postgres' driver is installed.
    return PostgresConnectionConfig.model_construct(type_="postgres", **{**settings, **changes})


def test_every_event_carries_the_project(planned: Project, recorded: Receiver) -> None:
    planned.plan(environment="dev", include_unmodified=True)
    planned.run(day=5)
    recorded.wait_for(lambda: recorded.of("run_ended"))
    identities = {(e["project"], e["project_is_named"], e["state"]) for e in recorded.events}
    assert len(identities) == 1
    assert identities.pop()[:2] == ("", False)


def test_the_name_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert name_of(config()) == ""
    assert name_of(config(project="shop")) == "shop"
    assert name_of(config(project="shop"), config(), config(project="bank"), config(project="shop")) == "bank+shop"
    assert name_of(config(project="shop"), gateway="main") == "shop"
    assert name_of(config(project="shop"), gateway="other") == "shop:other"
    assert name_of(config(), gateway="other") == ":other"
    monkeypatch.setenv("TOBIKO_PROJECT_NAME", "my shop")
    assert name_of(config(project="shop"), gateway="other") == "my shop"
    assert project_fields({"": config()}, None)["project_is_named"] is True


def test_the_state_is_where_its_database_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_of(postgres()) == state_of(postgres(user="other", password="changed"))
    assert len({state_of(postgres(**c)) for c in ({}, {"host": "b"}, {"port": 1}, {"database": "b"})}) == 4
    assert state_of(postgres()) != state_of(postgres(), schema="other")
    assert state_of(DuckDBConnectionConfig()) is None
    monkeypatch.chdir(tmp_path)
    relative = state_of(DuckDBConnectionConfig(database="state.db"))
    assert relative == state_of(DuckDBConnectionConfig(database=str(tmp_path / "state.db")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert relative != state_of(DuckDBConnectionConfig(database="state.db"))


def test_no_secret_is_part_of_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = []
    monkeypatch.setattr(json, "dumps", lambda value, **_: hashed.append(repr(value)) or "")
    state_of(postgres(password="s3cret"))
    state_of(DuckDBConnectionConfig.model_construct(type_="duckdb", database="md:shop?motherduck_token=s3cret"))
    assert len(hashed) == 2
    assert "s3cret" not in "".join(hashed)


def test_where_the_configuration_cannot_be_loaded_the_name_is_read_from_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(text: str, gateway: str | None = None) -> Any:
        (tmp_path / "config.yaml").write_text(text)
        return project_fields_of_files([str(tmp_path)], gateway)

    assert project_fields_of_files([str(tmp_path)], None) is None
    assert name("oops: [\n") == {"project": "", "project_is_named": False}
    assert name("oops: [\nproject: 'shop'\n")["project"] == "shop"
    assert name("gateways:\n  main:\n    project: cloud\nproject: shop # ours\n", "main")["project"] == "shop"
    assert name("project: shop\ndefault_gateway: main\n", "other")["project"] == "shop:other"
    monkeypatch.setenv("TOBIKO_PROJECT_NAME", "mine")
    assert name("oops: [\n", "other") == {"project": "mine", "project_is_named": True}


@pytest.mark.parametrize("option", [["--project-name", "mine"], ["--project-name=mine"]])
def test_the_command_line_names_the_project(planned: Project, receiver: Receiver, option: list[str]) -> None:
    command = planned.command(*option, "run", TCLOUD_BASE_URL=receiver.url)
    output, errors = command.communicate(timeout=60)
    assert command.returncode == 0, output + errors
    receiver.wait_for(lambda: receiver.of("run_ended"))
    assert {(event["project"], event["project_is_named"]) for event in receiver.events} == {("mine", True)}


def test_an_option_without_its_value_is_an_error(planned: Project) -> None:
    command = planned.command("--project-name")
    assert "needs a name" in command.communicate(timeout=30)[1]
    assert command.returncode == 2


def test_a_refusal_is_one_warning_with_the_servers_sentence(
    planned: Project, recorded: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    recorded.is_bad = lambda event: event["type"] not in ("run_started", "run_ended")
    with caplog.at_level(logging.WARNING, logger="tobikodata.sqlmesh_recorder"):
        assert planned.run(day=5).is_success
        recorded.wait_for(lambda: recorded.of("run_ended"))
        assert planned.run(day=6).is_success
        recorded.wait_for(lambda: len(recorded.of("run_ended")) == 2)
    assert [r.getMessage() for r in caplog.records if r.name == "tobikodata.sqlmesh_recorder"] == [
        "the local cloud refused an event, which is dropped: bad"
    ]
