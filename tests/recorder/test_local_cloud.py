"""The recorder and the real local cloud: the API returns what SQLMesh did."""

from __future__ import annotations

import base64
import http.client
import json
import logging
import os
import shutil
import subprocess
import sys
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from project import ALL_BUT_EXTERNAL, Project

from tobikodata import sqlmesh_recorder


def executable() -> str | None:
    beside = Path(sys.executable).with_name("tobiko-facade")
    return os.environ.get("TOBIKO_FACADE_EXECUTABLE") or shutil.which(str(beside))


pytestmark = pytest.mark.skipif(executable() is None, reason="the executable is not installed")


UNIT_TEST = """
    test_wrong:
      model: t.total_view
      inputs:
        t.total:
          rows:
          - rows_of_facts: 1
      outputs:
        query:
          rows:
          - rows_of_facts: 2
"""


class Cloud:
    def __init__(self, database: Path) -> None:
        command = [str(executable()), "serve", "--listen", "127.0.0.1:0", "--database", str(database)]
        command += ["--client-id", "recorder", "--stale-after", "2"]
        environment = {**os.environ, "TCLOUD_CLIENT_SECRET": "a secret"}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = json.loads(self.process.stdout.readline())["base_url"].rstrip("/")
        pair = base64.b64encode(b"recorder:a secret").decode()
        headers = {"Authorization": f"Basic {pair}", "Content-Type": "application/x-www-form-urlencoded"}
        login = "grant_type=client_credentials&scope=tbk%3Ascope%3Aprojects"
        self.bearer = self._exchange("POST", "/auth/token", headers, login)["id_token"]

    def get(self, path: str, project: str | None = None, **query: str) -> Any:
        """The response, or None for 404. `project`: by that project's own base URL."""
        base = "" if project is None else f"/projects/{project}"
        address = f"{base}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        return self._exchange("GET", address, {"Authorization": f"Bearer {self.bearer}"})

    def wait_for(self, fact: Callable[[], Any], seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < deadline, "it never became true"
            time.sleep(0.05)
        return fact()

    def newest_run(self, status: str) -> Any:
        def found() -> Any:
            runs = self.get("runs", environment="prod", last="true") or []
            return runs if runs and runs[0]["status"] == status else None

        return self.wait_for(found)[0]

    def _exchange(self, method: str, address: str, headers: dict[str, str], body: str | None = None) -> Any:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=10)
        try:
            connection.request(method, address, body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        assert response.status in (200, 404), answer
        return answer if response.status == 200 else None


@pytest.fixture
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    cloud = Cloud(tmp_path / "cloud.db")
    monkeypatch.setenv("TCLOUD_BASE_URL", cloud.url)
    monkeypatch.setenv("TCLOUD_CLIENT_ID", "recorder")
    monkeypatch.setenv("TCLOUD_CLIENT_SECRET", "a secret")
    sqlmesh_recorder.install()
    yield cloud
    cloud.process.terminate()
    cloud.process.wait(10)


def test_plans_and_runs_show_in_the_api_as_sqlmesh_did_them(
    project: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = project.plan(day=4)
    dag = cloud.wait_for(lambda: cloud.get("dags/prod"))
    with project.context() as context:
        state = context.state_reader.get_environment("prod")
        truth = {s.name for s in context.state_reader.get_snapshots(state.snapshots).values()}
    assert {node["name"] for node in dag["nodes"]} == truth
    made = cloud.get("evaluations", plan_id=plan.plan_id)
    facts = [e for e in made if e["node_name"] == '"shop"."t"."facts"']
    assert len(facts) == project.days_filled('"shop"."t"."facts"') == 3
    assert cloud.get("runs", environment="prod") is None

    monkeypatch.setenv("TEST_CHECKED", "negative")
    assert project.run(day=6).is_failure
    witness = project.witness
    run = cloud.newest_run("failed")
    evaluations = cloud.get(f"runs/{run['run_id']}/evaluations")
    assert Counter((e["node_name"], e["status"]) for e in evaluations) == Counter(
        (node, "success" if well else "failed") for node, _, _, well in witness.batches
    )
    failed = next(e for e in evaluations if e["status"] == "failed")
    assert {failed["node_name"]} == witness.failed
    assert [(a["name"], a["status"]) for a in failed["audits"]] == [("positive", "failed")]
    assert "positive" in failed["error_message"]
    assert not {e["node_name"] for e in evaluations} & witness.skipped


def test_a_run_that_fails_before_it_evaluates_anything_is_a_failed_run(planned: Project, cloud: Cloud) -> None:
    with duckdb.connect(str(planned.root / "shop.db")) as connection:
        connection.execute("UPDATE sqlmesh._versions SET schema_version = schema_version + 1")
    with pytest.raises(Exception, match="version") as raised:
        planned.run(day=5)
    run = cloud.newest_run("failed")
    assert str(raised.value) in run["error_message"]
    assert run["end_at"]
    assert not cloud.get(f"runs/{run['run_id']}/evaluations")  # it answers 404 where there is none


def test_a_run_has_the_nodes_that_are_due(planned: Project, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHECKED", "raise")
    assert planned.run(day=5).is_failure
    run = cloud.newest_run("failed")
    due = cloud.get(f"runs/{run['run_id']}")["due_node_names"]
    assert set(due) == ALL_BUT_EXTERNAL - {'"shop"."t"."ref"'}


def test_an_external_model_that_was_audited_was_not_loaded(planned: Project, cloud: Cloud) -> None:
    audits = "audits: [{name: not_null, columns: '[id]'}]"
    planned.write("external_models.yaml", f"- name: ext.source\n  columns: {{id: int}}\n  {audits}\n")
    planned.plan(day=5)
    assert planned.run(day=6).is_success
    run = cloud.newest_run("success")
    evaluations = cloud.get(f"runs/{run['run_id']}/evaluations")
    assert [e["node_name"] for e in evaluations if e.get("only_audits")] == ['"shop"."ext"."source"']


def test_a_plan_that_fails_before_it_evaluates_anything_is_a_failed_plan(planned: Project, cloud: Cloud) -> None:
    planned.plan(day=5, run=True)
    planned.write("tests/test_wrong.yaml", UNIT_TEST)
    with pytest.raises(Exception, match="test"):
        planned.plan(day=6)
    plans = cloud.wait_for(
        lambda: [plan for plan in cloud.get("plans", environment="prod") or [] if plan["end_at"]][1:]
    )
    assert [plan["status"] for plan in cloud.get("plans", environment="prod")] == ["success", "failed"]
    assert "test" in plans[-1]["error_message"]


def test_an_invalidated_environment_is_gone(planned: Project, cloud: Cloud) -> None:
    planned.plan(environment="dev", include_unmodified=True)
    cloud.wait_for(lambda: cloud.get("dags/dev"))
    with planned.context() as context:
        context.invalidate_environment("dev")
    cloud.wait_for(lambda: cloud.get("dags/dev") is None)
    planned.plan(environment="dev", include_unmodified=True)
    cloud.wait_for(lambda: cloud.get("dags/dev"))


def test_two_projects_on_one_server_are_told_apart(
    planned: Project,
    template: Project,
    cloud: Cloud,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    second = Project(tmp_path / "second", copy_of=template)
    second.remove("models/total.sql", "models/total_view.sql")
    planned.plan(environment="dev", include_unmodified=True)
    dag = cloud.wait_for(lambda: cloud.get("dags/dev"))
    with caplog.at_level(logging.WARNING, logger="tobikodata.sqlmesh_recorder"):
        second.plan(environment="dev", include_unmodified=True)
        cloud.wait_for(lambda: "already fed from another SQLMesh state" in caplog.text)
    sqlmesh_recorder.uninstall()
    assert "TOBIKO_PROJECT_NAME" in caplog.text
    assert cloud.get("dags/dev") == dag

    monkeypatch.setenv("TOBIKO_PROJECT_NAME", "second")
    sqlmesh_recorder.install()
    second.plan(day=5, environment="dev", include_unmodified=True, skip_backfill=False, end="2024-01-04")
    other = cloud.wait_for(lambda: cloud.get("dags/dev", project="second"))
    assert len(other["nodes"]) == len(dag["nodes"]) - 2
    assert len(cloud.get("dags/dev", project="default")["nodes"]) == len(dag["nodes"])


def test_the_run_of_a_killed_process_ends_without_heartbeats(planned: Project, cloud: Cloud) -> None:
    process = planned.command("run", TEST_CHECKED="sleep 60")
    try:
        cloud.newest_run("in_progress")
        cloud.wait_for(lambda: cloud.get("evaluations", environment="prod", node_name='"shop"."t"."checked"'))
    finally:
        process.kill()
        process.communicate(timeout=30)
    run = cloud.newest_run("failed")
    assert run["end_at"]
    assert run["error_message"]
