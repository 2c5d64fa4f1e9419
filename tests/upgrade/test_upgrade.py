"""From the original package to this one, in place: what is imported, and what stands in Dagster, is understood.

Runs in an environment into which 1.0.9 was installed first and this wheel over it. ORIGINAL_PYTHON is one that still has 1.0.9.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest

CLIENT = {"TCLOUD_CLIENT_ID": "dagster", "TCLOUD_CLIENT_SECRET": "hush-hush-upgrade"}
SYNC_WITH_THE_ORIGINAL = """
import os, dagster as dg
from importlib.metadata import version
from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster
assert version("tobiko-cloud-scheduler-facade") == "1.0.9"
facade = SQLMeshEnterpriseDagster(
    url=os.environ["TCLOUD_BASE_URL"],
    oauth_client_id=os.environ["TCLOUD_CLIENT_ID"],
    oauth_client_secret=os.environ["TCLOUD_CLIENT_SECRET"],
)
job = facade.create_definitions().resolve_job_def("tobiko_cloud_sync_prod")
assert job.execute_in_process(instance=dg.DagsterInstance.get()).success
"""
NODE = '"coffee"."sales"."orders"'
KEY = dg.AssetKey(["coffee", "sales", "orders"])


@pytest.fixture(autouse=True)
def cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local cloud with one model that a run evaluated."""
    home = tmp_path / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    env = {
        **CLIENT,
        "DAGSTER_HOME": str(home),
        "TCLOUD_HOME": str(tmp_path / "tcloud"),
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in {**env, "TOBIKO_FACADE_CACHE_DIR": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    executable = Path(sys.executable).parent / "tobiko-facade"
    argv = [str(executable), "serve", "--listen", "127.0.0.1:0", "--database", str(tmp_path / "cloud.db")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout
            first = json.loads(server.stdout.readline())
            monkeypatch.setenv("TCLOUD_BASE_URL", first["base_url"])
            monkeypatch.setenv("TCLOUD_TOKEN_URL", first["token_url"])
            tell(first["base_url"], first["token_url"])
            yield
        finally:
            server.terminate()
            server.wait(10)


def tell(base_url: str, token_url: str) -> None:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, token_url, CLIENT["TCLOUD_CLIENT_ID"], CLIENT["TCLOUD_CLIENT_SECRET"])
    basic = urllib.request.HTTPBasicAuthHandler(passwords)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), basic)
    form = b"grant_type=client_credentials&scope=tbk%3Ascope%3Aprojects"
    form += f"&client_id={CLIENT['TCLOUD_CLIENT_ID']}&client_secret={CLIENT['TCLOUD_CLIENT_SECRET']}".encode()
    token = json.load(opener.open(urllib.request.Request(token_url, form)))["id_token"]
    run = {"run_id": "run-1", "environment": "prod"}
    interval = {"interval_start": "2024-05-01T00:00:00Z", "interval_end": "2024-05-01T00:05:00Z"}
    node = {"name": NODE, "model_name": "sales.orders", "description": None, "source_type": "sql", "tags": []}
    node |= {"parent_names": [], "audit_names": ["not_null"], "type": "model", "version": "1"}
    events = [
        {
            "type": "environment",
            "environment": "prod",
            "plan_id": "plan-1",
            "start_at": None,
            "nodes": [node],
        },
        {"type": "run_started", **run},
        {
            "type": "evaluation_started",
            **run,
            **interval,
            "evaluation_id": "e-1",
            "node_name": NODE,
            "version": "1",
        },
        {
            "type": "audit",
            **interval,
            "evaluation_id": "e-1",
            "name": "not_null",
            "status": "success",
            "blocking": True,
        }
        | {"count": 0, "execution_time": "2024-05-01T00:05:02Z"},
        {"type": "evaluation_ended", "evaluation_id": "e-1", "status": "success", "error_message": None},
        {"type": "run_ended", **run, "status": "success", "error_message": None},
    ]
    lines = [{"id": str(uuid.uuid4()), "at": f"2024-05-01T00:05:0{n}Z", **event} for n, event in enumerate(events)]
    body = "\n".join(map(json.dumps, lines)).encode()
    headers = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token}"}
    opener.open(urllib.request.Request(f"{base_url}/recorder/v1/events", body, headers)).close()


def test_the_new_version_has_taken_the_place_of_the_original() -> None:
    assert version("tobiko-cloud-scheduler-facade").startswith("2.")
    from tobikodata.scheduler_facades import dagster as package

    assert {"SQLMeshEnterpriseDagster", "TobikoCloudResource", "ENVIRONMENT_TAG"} <= set(dir(package))
    assert package.__path__  # the original was a module


def test_the_vendors_other_packages_still_import() -> None:
    from tobikodata.helpers import link
    from tobikodata.http_client import V1ApiClient

    assert V1ApiClient and link


def test_what_the_original_materialized_is_not_written_again() -> None:
    env = dict(os.environ)
    done = subprocess.run(
        [os.environ["ORIGINAL_PYTHON"], "-c", SYNC_WITH_THE_ORIGINAL],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    with dg.DagsterInstance.get() as instance:
        before = instance.get_latest_materialization_event(KEY)
        assert before
        facade = SQLMeshEnterpriseDagster(
            url=os.environ["TCLOUD_BASE_URL"],
            oauth_client_id=os.environ["TCLOUD_CLIENT_ID"],
            oauth_client_secret=os.environ["TCLOUD_CLIENT_SECRET"],
        )
        definitions = facade.create_definitions()
        assert definitions.resolve_job_def("tobiko_cloud_sync_prod").execute_in_process(instance=instance).success
        after = instance.get_latest_materialization_event(KEY)
        assert after
        assert (after.run_id, after.timestamp) == (before.run_id, before.timestamp)


@pytest.mark.parametrize(("cursor", "asked_for"), [("run-1", None), ("__initial_sync_complete__", "run-1")])
def test_the_originals_cursor_is_understood(cursor: str, asked_for: str | None) -> None:
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    definitions = SQLMeshEnterpriseDagster(url=os.environ["TCLOUD_BASE_URL"]).create_definitions()
    sensor = definitions.get_sensor_def("tobiko_cloud_track_prod")
    with dg.DagsterInstance.get() as instance:
        context = dg.build_sensor_context(instance=instance, cursor=cursor)
        tick = sensor.evaluate_tick(context)
    assert [request.run_key for request in tick.run_requests or []] == ([asked_for] if asked_for else [])
    assert json.loads(tick.cursor or "")["last"] == "run-1"
