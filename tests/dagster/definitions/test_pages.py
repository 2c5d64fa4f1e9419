"""What Dagster's pages show, asked as they ask: by GraphQL, of a code server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dagster_pages import ask
from dagster_runs import run_job
from recorded_cloud import Cloud, model, standalone

PAGES = """
query ($key: AssetKeyInput!, $run: ID!) {
    assetNodeOrError(assetKey: $key) { ... on AssetNode {
        isMaterializable isExecutable kinds
        assetChecksOrError { ... on AssetChecks { checks {
            name canExecuteIndividually
            executionForLatestMaterialization {
                status evaluation { success severity metadataEntries { label } }
            }
        } } }
    } }
    runOrError(runId: $run) { ... on Run {
        status assets { key { path } } stepStats { stepKey status startTime endTime }
    } }
}
"""


@pytest.fixture
def file(cloud: Cloud, tmp_path: Path) -> Path:
    cloud.environment(model("a", audits=("good", "bad")), model("b", "a"), standalone("covering", "a"))
    path = tmp_path / "definitions.py"
    path.write_text(
        "from dagster import EnvVar\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "defs = SQLMeshEnterpriseDagster(url=EnvVar('TCLOUD_BASE_URL').get_value()).create_definitions()\n"
    )
    return path


def test_the_asset_and_the_run_show_what_happened(file: Path, cloud: Cloud, load: Any, instance: Any) -> None:
    run = cloud.run("r1")
    run.started("a")
    run.audited("a", "good")
    run.audited("a", "bad", passed=False)
    run.ended("a")
    run.evaluated("b")
    run.end()
    result = run_job(load(), instance)

    answer = json.loads(ask(instance, file, PAGES, key={"path": ["wh", "s", "a"]}, run=result.run_id))

    asset = answer["assetNodeOrError"]
    assert not asset["isMaterializable"]  # no Materialize button
    assert not asset["isExecutable"]
    assert sorted(asset["kinds"]) == ["sql", "sqlmesh"]
    checks = {check["name"]: check for check in asset["assetChecksOrError"]["checks"]}
    assert set(checks) == {"good", "bad", "covering"}
    assert {check["canExecuteIndividually"] for check in checks.values()} == {"CAN_EXECUTE"}
    shown = {name: check["executionForLatestMaterialization"] for name, check in checks.items()}
    assert shown["covering"] is None
    assert (shown["good"]["status"], shown["bad"]["status"]) == ("SUCCEEDED", "FAILED")
    assert shown["bad"]["evaluation"]["severity"] == "WARN"
    assert "Log Link" in {entry["label"] for entry in shown["bad"]["evaluation"]["metadataEntries"]}

    run_page = answer["runOrError"]
    assert run_page["status"] == "SUCCESS"
    assert sorted(asset["key"]["path"][-1] for asset in run_page["assets"]) == ["a", "b"]
    stats = {step["stepKey"]: step for step in run_page["stepStats"]}
    assert {step["status"] for step in stats.values()} == {"SUCCESS"}
    assert all(step["startTime"] <= step["endTime"] for step in stats.values())
