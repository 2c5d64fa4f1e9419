"""The whole of it, as a user has it: a SQLMesh project, the recorder, the local cloud, `dagster dev` with its daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from cloud_server import CloudServer
from deployment import ask_graphql, free_port
from waiting import wait_until

T = TypeVar("T")

EXAMPLES = Path(__file__).parents[2] / "examples"
SQLMESH_PYTHON = Path(__file__).parents[2] / ".envs" / "sqlmesh" / "bin" / "python"
EXECUTABLE = str(Path(sys.executable).parent / "tobiko-facade")
MIRROR = "tobiko_cloud_mirror_run_prod"
SYNC = "tobiko_cloud_sync_prod"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
CLIENT = {"TCLOUD_CLIENT_ID": "dagster", "TCLOUD_CLIENT_SECRET": "hush-hush-whole"}

# Ends when its gate, a file, is open: so a test sees Dagster follow it. Due with the rest, at each run.
GATED_MODEL = """
import time
import typing as t
from pathlib import Path
import pandas as pd
from sqlmesh import model


@model("live.{name}", kind="FULL", cron="*/5 * * * *", columns={{"id": "int"}}, depends_on={{{parent!r}}})
def execute(context, **_: t.Any) -> pd.DataFrame:
    until = time.monotonic() + 600
    while not Path({gate!r}).exists() and time.monotonic() < until:
        time.sleep(0.1)
    return pd.DataFrame({{"id": [1]}})
"""


class Stack:
    """A running stack. What it starts, it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.project = folder / "project"
        shutil.copytree(
            EXAMPLES / "sqlmesh_project",
            self.project,
            ignore=shutil.ignore_patterns(".cache", "*.db", "logs", "__pycache__"),
        )
        self._processes: list[subprocess.Popen[str]] = []
        # What is set on the developer's machine must not lead it elsewhere.
        ours = ("TCLOUD_", "TOBIKO_", "DAGSTER_", "SQLMESH_", "COFFEE_")
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        self.env.update(
            CLIENT,
            COFFEE_DATABASE=str(folder / "coffee.db"),
            TOBIKO_RECORDER_SPOOL=str(folder / "spool.jsonl"),
            TCLOUD_HOME=str(folder / "tcloud"),
            TOBIKO_FACADE_CACHE_DIR=str(folder / "cache"),
            NO_PROXY="127.0.0.1",
        )
        self._serve()

    def _serve(self) -> None:
        client = (CLIENT["TCLOUD_CLIENT_ID"], CLIENT["TCLOUD_CLIENT_SECRET"])
        self.server = CloudServer(EXECUTABLE, self.folder, client=client, environ=self.env)
        self.cloud = self.server.base_url
        self.env.update(TCLOUD_BASE_URL=self.server.base_url, TCLOUD_TOKEN_URL=self.server.token_url)

    def dagster_dev(self) -> None:
        home = self.folder / "dagster_home"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
        port = free_port()
        self.page = f"http://127.0.0.1:{port}"
        self.env.update(DAGSTER_HOME=str(home), DAGSTER_GRAPHQL_HOST="127.0.0.1", DAGSTER_GRAPHQL_PORT=str(port))
        argv = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)]
        self.start("dagster-dev", argv, cwd=EXAMPLES / "dagster_project")
        self.wait_for("Dagster's page", lambda: self.try_graphql("{ version }"))
        self.location()

    def start(self, name: str, argv: list[str], **options: Any) -> subprocess.Popen[str]:
        log = (self.folder / f"{name}.log").open("w")
        options = {"stdin": subprocess.DEVNULL, "stdout": log, **options}
        process = subprocess.Popen(argv, env=self.env, stderr=log, text=True, start_new_session=True, **options)
        self._processes.append(process)
        return process

    def end(self) -> None:
        self._end_processes()
        self.server.stop()

    def _end_processes(self) -> None:
        for process in reversed(self._processes):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()

    # SQLMesh

    def sqlmesh(self, *arguments: str) -> None:
        """`sqlmesh ARGUMENTS`, recorded."""
        argv = [str(SQLMESH_PYTHON), "-m", "tobikodata.sqlmesh_recorder", "-p", str(self.project), *arguments]
        done = subprocess.run(argv, env=self.env, capture_output=True, text=True, timeout=300, cwd=self.folder)
        assert done.returncode == 0, done.stdout + done.stderr

    def plan(self, *arguments: str) -> None:
        self.sqlmesh("plan", "--auto-apply", "--no-prompts", *arguments)

    def run_loop(self, runs: int = 1, **env: str) -> subprocess.Popen[str]:
        """Starts so many SQLMesh runs, each of the next five minutes of the project's time."""
        argv = [str(SQLMESH_PYTHON), str(self.project / "run_loop.py"), "--pause", "0", "--runs", str(runs)]
        log = (self.folder / "run-loop.log").open("a")
        process = subprocess.Popen(
            argv, env={**self.env, **env}, stdout=log, stderr=log, text=True, start_new_session=True
        )
        self._processes.append(process)
        return process

    def run(self, runs: int = 1, **env: str) -> None:
        process = self.run_loop(runs, **env)
        assert process.wait(timeout=300) == 0, (self.folder / "run-loop.log").read_text()

    def a_run_goes_on(self) -> bool:
        """Whether the cloud knows of a run that has not ended."""
        done = subprocess.run(
            [EXECUTABLE, "poll"], env=self.env, capture_output=True, text=True, check=True, timeout=120
        )
        return any(not run["ended"] for run in json.loads(done.stdout)["runs"])

    def intervals(self) -> dict[str, list[Any]]:
        """SQLMesh's own account: the intervals that it has filled, by model."""
        code = """
import json, sys
from sqlmesh import Context
context = Context(paths=[sys.argv[1]], load=False)
state = context.state_sync.get_environment("prod")
snapshots = context.state_sync.get_snapshots(state.snapshots).values()
print(json.dumps({snapshot.name.replace('"', ""): snapshot.intervals for snapshot in snapshots}))
"""
        argv = [str(SQLMESH_PYTHON), "-c", code, str(self.project)]
        done = subprocess.run(
            argv, env=self.env, capture_output=True, text=True, timeout=300, cwd=self.folder, check=True
        )
        intervals: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
        return intervals

    # Dagster

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.try_graphql(query, **variables)
        assert answer is not None, "Dagster's page does not answer"
        return answer

    def try_graphql(self, query: str, **variables: Any) -> dict[str, Any] | None:
        return ask_graphql(self.page, query, limit_s=60, **variables)

    def runs(self, job: str) -> list[dict[str, Any]]:
        """Oldest first."""
        query = """query ($job: String!) { runsOrError(filter: {pipelineName: $job}) { ... on Runs { results {
          runId status startTime endTime tags { key value } } } } }"""
        return list(reversed(self.graphql(query, job=job)["runsOrError"]["results"]))

    def ended_runs(self, job: str) -> list[dict[str, Any]]:
        return [run for run in self.runs(job) if run["status"] in ENDED]

    def wait_for_runs(self, job: str, count: int, limit_s: float = 240) -> list[dict[str, Any]]:
        what = f"{count} runs of {job}"
        return self.wait_for(what, lambda: runs if len(runs := self.ended_runs(job)) >= count else None, limit_s)

    def wait_for(self, what: str, ask: Callable[[], T | None], limit_s: float = 240) -> T:
        found: T = wait_until(ask, limit_s, what, self._logs, pause_s=0.3)
        return found

    def _logs(self) -> str:
        return "\n".join(path.name + "\n" + path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def location(self) -> dict[str, str]:
        """The code location's name and its repository's."""
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } } }"
        nodes = self.graphql(query)["repositoriesOrError"].get("nodes", [])
        assert nodes, "the code location did not load: " + (self.folder / "dagster-dev.log").read_text()
        (node,) = nodes
        return {"repositoryName": node["name"], "repositoryLocationName": node["location"]["name"]}

    def launch(self, job: str, **more: Any) -> str:
        query = """mutation ($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename
          ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
          ... on RunConfigValidationInvalid { errors { message } } } }"""
        parameters = {
            "selector": {**self.location(), "pipelineName": job, **more},
            "runConfigData": {},
            "mode": "default",
        }
        answer = self.graphql(query, p=parameters)["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        run_id: str = answer["run"]["runId"]
        return run_id

    def wait_for_run(self, run_id: str, limit_s: float = 240) -> str:
        query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"

        def status() -> str | None:
            found: str = self.graphql(query, id=run_id)["runOrError"]["status"]
            return found if found in ENDED else None

        return self.wait_for(f"the end of run {run_id}", status, limit_s)

    def wait_for_ticks(self) -> None:
        """Until each sensor has looked once more, and what it asked for has ended."""
        query = """query ($s: RepositorySelector!) { sensorsOrError(repositorySelector: $s) { ... on Sensors { results {
          name sensorState { status ticks(limit: 1) { timestamp endTimestamp } } } } } }"""
        since = time.time()

        def all_have_looked() -> bool:
            sensors = self.graphql(query, s=self.location())["sensorsOrError"]["results"]
            running = [s["sensorState"]["ticks"] for s in sensors if s["sensorState"]["status"] == "RUNNING"]
            return bool(running) and all(t and t[0]["timestamp"] > since and t[0]["endTimestamp"] for t in running)

        self.wait_for("a tick of each sensor", all_have_looked)
        query = "{ runsOrError { ... on Runs { results { status } } } }"

        def all_have_ended() -> bool:
            return all(run["status"] in ENDED for run in self.graphql(query)["runsOrError"]["results"])

        self.wait_for("the end of all runs", all_have_ended)

    def steps(self, run_id: str) -> dict[str, dict[str, Any]]:
        query = """query ($id: ID!) { runOrError(runId: $id) { ... on Run {
          stepStats { stepKey status startTime endTime } } } }"""
        return {step["stepKey"]: step for step in self.graphql(query, id=run_id)["runOrError"]["stepStats"]}

    def failures(self, run_id: str) -> dict[str, Any]:
        """What the failed steps failed with."""
        query = """query ($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events { __typename
          ... on ExecutionStepFailureEvent { stepKey error { message }
            failureMetadata { description metadataEntries { label ... on UrlMetadataEntry { url } } } } } } } }"""
        events = self.graphql(query, id=run_id)["logsForRun"]["events"]
        return {event["stepKey"]: event for event in events if event["__typename"] == "ExecutionStepFailureEvent"}

    def materialized_by(self, run_id: str) -> set[str]:
        """The assets that the run's page lists as materialized."""
        query = """query ($id: ID!) { runOrError(runId: $id) { ... on Run {
          assetMaterializations { assetKey { path } } } } }"""
        found = self.graphql(query, id=run_id)["runOrError"]["assetMaterializations"]
        return {".".join(event["assetKey"]["path"]) for event in found}

    def assets(self) -> dict[str, dict[str, Any]]:
        query = """{ assetNodes { assetKey { path } isMaterializable isExecutable
          assetMaterializations(limit: 1) { runId timestamp
            metadataEntries { __typename label ... on UrlMetadataEntry { url } ... on TextMetadataEntry { text } } }
          assetChecksOrError { ... on AssetChecks { checks { name
            executionForLatestMaterialization { status runId timestamp } } } } } }"""
        return {".".join(node["assetKey"]["path"]): node for node in self.graphql(query)["assetNodes"]}

    def checks(self, asset: str) -> dict[str, dict[str, Any]]:
        checks = self.assets()[asset]["assetChecksOrError"]["checks"]
        return {check["name"]: check["executionForLatestMaterialization"] for check in checks}


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    stack = Stack(folder)
    try:
        yield stack
    finally:
        stack.end()
