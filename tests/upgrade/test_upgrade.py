"""From the original package to this one, in place: what is imported, and what stands in Dagster, is understood.

Runs in an environment into which 1.0.9 was installed first and this wheel over it. ORIGINAL_PYTHON is one that still has 1.0.9.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import dagster as dg
import pytest
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model

CLIENT = {"TCLOUD_CLIENT_ID": CLIENT_ID, "TCLOUD_CLIENT_SECRET": CLIENT_SECRET}
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
    cloud = Cloud(str(Path(sys.executable).parent / "tobiko-facade"), tmp_path, dict(os.environ), locked=True)
    try:
        monkeypatch.setenv("TCLOUD_BASE_URL", cloud.base_url)
        monkeypatch.setenv("TCLOUD_TOKEN_URL", cloud.token_url)
        cloud.environment(model(NODE, audits=("not_null",)))
        run = cloud.run("run-1")
        run.evaluated(NODE, "not_null")
        run.end()
        yield
    finally:
        cloud.stop()


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
