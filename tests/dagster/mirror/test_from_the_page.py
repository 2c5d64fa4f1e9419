"""What a person does on Dagster's pages: launch, terminate, re-execute. With the pages' queries and real run workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster_pages import Ask, pages
from dagster_runs import MIRROR, Result, steps_with
from recorded_cloud import Cloud, model
from waiting import wait_until

LAUNCH = """
mutation ($job: String!) { launchRun(executionParams: {
    selector: {jobName: $job, repositoryName: "__repository__", repositoryLocationName: "location"}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""

REEXECUTE = """
mutation ($parent: String!, $strategy: ReexecutionStrategy!) { launchRunReexecution(
    reexecutionParams: {parentRunId: $parent, strategy: $strategy}
) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""

TERMINATE = """
mutation ($run: String!) { terminateRun(runId: $run) { __typename ... on PythonError { message } } }
"""


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    """It launches at once: there is no daemon that would take runs from a queue."""
    with (home / "dagster.yaml").open("a") as file:
        file.write("run_coordinator:\n  module: dagster.core.run_coordinator\n  class: DefaultRunCoordinator\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def launched(answer: dict[str, Any]) -> str:
    (outcome,) = answer.values()
    assert outcome["__typename"] == "LaunchRunSuccess", outcome
    run_id: str = outcome["run"]["runId"]
    return run_id


def ended(instance: Any, run_id: str) -> Result:
    wait_until(lambda: instance.get_run_by_id(run_id).is_finished, limit_s=60)
    return Result(instance, run_id)


def executables(base_url: str) -> list[Path]:
    """The processes that mirror a run of this cloud."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_mirror = b"mirror" in (folder / "cmdline").read_bytes().split(b"\0")
            if is_mirror and base_url.encode() in (folder / "environ").read_bytes():
                found.append(folder)
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_a_mirror_is_launched_terminated_and_re_executed(cloud: Cloud, instance: Any, tmp_path: Path) -> None:
    cloud.environment(model("a"), model("b", "a"), model("c", "b"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.started("b")
    file = tmp_path / "definitions.py"
    file.write_text(
        "import os\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "defs = SQLMeshEnterpriseDagster(url=os.environ['TCLOUD_BASE_URL']).create_definitions()\n"
    )
    with pages(instance, file) as ask:
        first = terminated(ask, cloud, instance)
        assert first.status == "CANCELED"
        assert first.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
        assert "cancelled" in first.failure("wh_s_b").description
        assert "tobiko/mirror" not in first.tags

        # The remote run has continued untouched; a newer one is not what was requested.
        run.ended("b")
        run.evaluated("c", status="failed", message="boom")
        run.end("failed", "1 model failed")
        newer = cloud.run("r2", 9000.0)
        newer.evaluated("c")
        newer.end()
        whole = ended(instance, launched(ask(REEXECUTE, parent=first.run_id, strategy="ALL_STEPS")))
        assert whole.steps() == {"wh_s_a": "success", "wh_s_b": "success", "wh_s_c": "failure"}
        assert set(whole.materializations()) == {"wh/s/b"}
        assert "reported by an earlier attempt" in whole.log("wh_s_a")
        assert whole.tags["tobiko/run_id"] == "r1"

        rest = ended(instance, launched(ask(REEXECUTE, parent=whole.run_id, strategy="FROM_FAILURE")))
        assert rest.steps() == {"wh_s_c": "failure"}
        assert "boom" in rest.failure("wh_s_c").description
        assert rest.materializations() == {}
        assert rest.tags["tobiko/run_id"] == "r1"


def terminated(ask: Ask, cloud: Cloud, instance: Any) -> Result:
    """A run that was launched without a run id, and terminated while a step of it was open."""
    run_id = launched(ask(LAUNCH, job=MIRROR))
    wait_until(lambda: "wh_s_b" in steps_with(instance, "STEP_START"), limit_s=60)
    (executable,) = executables(cloud.base_url)
    assert ask(TERMINATE, run=run_id)["terminateRun"]["__typename"] == "TerminateRunSuccess"
    result = ended(instance, run_id)
    assert result.tags["tobiko/run_id"] == "r1"
    wait_until(lambda: not executable.exists(), limit_s=10)
    return result
