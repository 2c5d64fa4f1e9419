"""The example project, with the loop that the demo runs, does what its README says."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from receiver import Receiver

PROJECT = Path(__file__).parents[2] / "examples" / "sqlmesh_project"


def test_the_example_plans_in_the_past_and_then_has_work_at_each_run(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COFFEE_DATABASE", str(tmp_path / "coffee.db"))
    monkeypatch.setenv("TCLOUD_BASE_URL", receiver.url)
    plan = [
        sys.executable,
        "-m",
        "tobikodata.sqlmesh_recorder",
        "-p",
        str(PROJECT),
        "--log-file-dir",
        str(tmp_path),
    ]
    noon = datetime.now(timezone.utc) - timedelta(days=1)  # far from midnight, when the daily model is due
    when = f"{noon:%Y-%m-%d} 12:00:00"
    plan += ["plan", "--auto-apply", "--no-prompts", "--execution-time", when]
    subprocess.run(plan, check=True, capture_output=True, timeout=120)
    loop = [sys.executable, str(PROJECT / "run_loop.py"), "--pause", "0", "--runs", "3", "--fail-every", "2"]
    ended = subprocess.run(loop, check=True, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    outcomes = [line.split("UTC")[1].split()[0] for line in ended.stdout.splitlines()]
    assert outcomes == ["success", "failure", "success"]

    runs = receiver.wait_for(lambda: len(receiver.of("run_ended")) == 3 and receiver.of("run_ended"))
    assert [run["status"] for run in runs] == ["success", "failed", "success"]
    nodes = receiver.of("environment")[-1]["nodes"]
    assert len([node for node in nodes if node["type"] == "model"]) >= 12
    assert {node["source_type"] for node in nodes} == {"sql", "seed", "python", "external", "audit"}
    assert {audit["name"] for audit in receiver.of("audit") if audit["status"] == "failed"} == {"every_product_sells"}
    planned = [event for event in receiver.of("evaluation_started") if "plan_id" in event]
    assert len([event for event in planned if event["node_name"] == '"coffee"."sales"."orders"']) > 2
    in_runs = {event["node_name"] for event in receiver.of("evaluation_started") if "run_id" in event}
    assert '"coffee"."sales"."orders"' in in_runs
    assert '"coffee"."sales"."daily_summary"' not in in_runs
    assert '"coffee"."seeds"."shops"' not in in_runs
