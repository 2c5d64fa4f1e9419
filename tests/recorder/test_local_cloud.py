"""The recorder and the real local cloud: the API returns what SQLMesh did."""

from __future__ import annotations

import base64
import http.client
import json
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

import pytest
from project import Project

from tobikodata import sqlmesh_recorder


def executable() -> str | None:
    beside = Path(sys.executable).with_name("tobiko-facade")
    return os.environ.get("TOBIKO_FACADE_EXECUTABLE") or shutil.which(str(beside))


pytestmark = pytest.mark.skipif(executable() is None, reason="the executable is not installed")


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

    def get(self, path: str, **query: str) -> Any:
        """The response, or None for 404."""
        address = f"/api/v1/{path}?{urllib.parse.urlencode(query)}"
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
