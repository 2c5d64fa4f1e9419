"""No secret leaves the environment: not to argv, the event log, GraphQL, the kept manifest or an error."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from dagster_pages import ask
from dagster_runs import SYNC, run_job
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model
from waiting import wait_until

FACADE = {"oauth_client_id": CLIENT_ID, "oauth_client_secret": CLIENT_SECRET}


@pytest.fixture
def project(locked_cloud: Cloud, monkeypatch: Any) -> Cloud:
    monkeypatch.delenv("TCLOUD_CLIENT_ID")
    monkeypatch.delenv("TCLOUD_CLIENT_SECRET")
    locked_cloud.environment(model("a", audits=("not_null",)))
    return locked_cloud


def test_a_run_shows_no_secret(project: Cloud, load: Any, instance: Any, home: Path, capfd: Any) -> None:
    defs = load(FACADE)
    run = project.run("r1")
    run.started("a")
    argv: list[str] = []

    def look() -> None:
        argv.extend(wait_until(lambda: [line for line in _all_argv() if "\0mirror\0" in line]))
        argv.extend(_all_argv())
        run.audited("a", "not_null")
        run.ended("a")
        run.end()

    thread = threading.Thread(target=look)
    thread.start()
    result = run_job(defs, instance)
    thread.join()
    assert result.success, result.log()
    run_job(defs, instance, SYNC)

    assert not any(CLIENT_SECRET in line for line in argv)
    printed = capfd.readouterr()
    assert CLIENT_SECRET not in printed.out + printed.err
    for path in home.rglob("*"):  # event log, run storage, compute logs, the kept manifest
        if path.is_file():
            assert CLIENT_SECRET.encode() not in path.read_bytes(), path


@pytest.mark.usefixtures("project")
def test_definitions_hold_no_secret(load: Any) -> None:
    defs = load(FACADE)
    assert CLIENT_SECRET not in repr(defs.metadata)
    assert CLIENT_SECRET not in repr(defs.resources)


@pytest.mark.usefixtures("project")
def test_a_wrong_secret_gets_one_sentence_without_it(load: Any) -> None:
    with pytest.raises(Exception, match="TCLOUD_CLIENT_SECRET") as error:
        load({**FACADE, "oauth_client_secret": "not-the-secret-9e1"})
    assert "not-the-secret-9e1" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("project")
def test_graphql_shows_no_secret(tmp_path: Path, instance: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("TCLOUD_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("TCLOUD_CLIENT_SECRET", CLIENT_SECRET)
    file = tmp_path / "definitions.py"
    file.write_text(
        "from dagster import EnvVar\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "defs = SQLMeshEnterpriseDagster(\n"
        "    url=EnvVar('TCLOUD_BASE_URL').get_value(),\n"
        "    oauth_client_id=EnvVar('TCLOUD_CLIENT_ID').get_value(),\n"
        "    oauth_client_secret=EnvVar('TCLOUD_CLIENT_SECRET').get_value(),\n"
        ").create_definitions()\n"
    )
    answer = ask(instance, file, RESOURCES_AND_DEFINITIONS)
    assert "tobiko_cloud" in answer
    assert "wh" in answer
    assert CLIENT_SECRET not in answer
    assert CLIENT_ID not in answer


RESOURCES_AND_DEFINITIONS = """
{ repositoriesOrError { ... on RepositoryConnection { nodes {
    name
    allTopLevelResourceDetails {
        name description resourceType
        configFields { name description defaultValueAsJson }
        configuredValues { key value type }
    }
    jobs { name description runTags { key value } graphName }
    assetNodes { assetKey { path } description tags { key value } metadataEntries { label } }
    sensors { name description }
} } } }
"""


def _all_argv() -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(process.read_text(errors="replace"))
        except OSError:  # it has ended
            continue
    return lines
