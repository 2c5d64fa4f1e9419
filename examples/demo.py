"""The main job on real runs: SQLMesh, the recorder, the local cloud and Dagster, each as its users start it.

Run by `make demo`, which makes the environments. Everything that it writes is below .demo/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

EXAMPLES = Path(__file__).resolve().parent
FOLDER = EXAMPLES.parent / ".demo"
SYNC_JOB = "tobiko_cloud_sync_prod"
MIRROR_JOB = "tobiko_cloud_mirror_run_prod"
USUAL_PORT = 3000
TIME_LIMIT_S = 300


class DemoError(Exception):
    """What went wrong, in a sentence."""


class Children:
    """The processes of the demo: each in a session of its own, so that Ctrl-C reaches this one alone."""

    def __init__(self) -> None:
        self._running: list[tuple[str, subprocess.Popen[str], Path]] = []

    def start(self, name: str, argv: list[str], env: dict[str, str], **options: Any) -> subprocess.Popen[str]:
        log = FOLDER / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as stderr:
            options = {"stdout": stderr, **options}
            child = subprocess.Popen(argv, env=env, stderr=stderr, text=True, start_new_session=True, **options)
        self._running.append((name, child, log))
        return child

    def check(self) -> None:
        """Raises when one of them has ended: all are meant to stay."""
        for name, child, log in self._running:
            if child.poll() is not None:
                raise DemoError(f"{name} ended with exit code {child.returncode}; the end of {log}:\n{tail(log)}")

    def end(self) -> None:
        """Ends them, the last one first."""
        for _, child, _ in reversed(self._running):
            if child.poll() is None:
                child.send_signal(signal.SIGINT)
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                pass
            # What a child leaves behind is in its group.
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sqlmesh-python", required=True, type=Path, help="Python that has SQLMesh and this project's wheel"
    )
    parser.add_argument("--once", action="store_true", help="end when the first new run is mirrored")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Started in the background of a script, it would inherit that SIGINT is ignored, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    children = Children()
    try:
        demo(options.sqlmesh_python.absolute(), options.once, children)
    except KeyboardInterrupt:
        print("\nending")
        return 0 if not options.once else 130
    except DemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        children.end()
    return 0


def demo(sqlmesh_python: Path, once: bool, children: Children) -> None:
    began = time.monotonic()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    own_programs = Path(sys.executable).parent
    env = clean_environment()

    say("starting the local cloud")
    serve = [
        str(own_programs / "tobiko-facade"),
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--database",
        str(FOLDER / "cloud.db"),
    ]
    cloud = children.start("local-cloud", serve, env, stdout=subprocess.PIPE)
    first_line = cloud.stdout.readline() if cloud.stdout else ""
    if not first_line:
        time.sleep(1)
        children.check()
        raise DemoError("the local cloud did not say where it is")
    base_url = json.loads(first_line)["base_url"]
    # On loopback, without credentials: the links of failed steps open without a log-in.
    env["TCLOUD_BASE_URL"] = base_url

    say("planning the SQLMesh project on DuckDB (examples/sqlmesh_project), its first run some hours back")
    project = EXAMPLES / "sqlmesh_project"
    env["COFFEE_DATABASE"] = str(FOLDER / "coffee.db")
    env["TOBIKO_RECORDER_SPOOL"] = str(FOLDER / "recorder_spool.jsonl")
    plan(sqlmesh_python, project, env)

    say("starting the loop that runs SQLMesh")
    pause = ["--pause", "40"] + ([] if once else ["--fail-every", "4"])
    children.start(
        "sqlmesh-loop",
        [str(sqlmesh_python), str(project / "run_loop.py"), *pause],
        {**env, "PYTHONUNBUFFERED": "1"},
    )

    say("starting dagster dev (examples/dagster_project)")
    port = free_port()
    home = FOLDER / "dagster_home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\nnux:\n  enabled: false\n")
    dagster_env = {
        **env,
        "DAGSTER_HOME": str(home),
        "DAGSTER_GRAPHQL_HOST": "127.0.0.1",
        "DAGSTER_GRAPHQL_PORT": str(port),
    }
    dev = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)]
    children.start("dagster-dev", dev, dagster_env, cwd=EXAMPLES / "dagster_project")
    page = f"http://127.0.0.1:{port}"
    wait_for("Dagster's page", lambda: graphql(page, "{ version }"), children)

    print(f"""
  Dagster            {page}
  the local cloud    {base_url}
  logs               {FOLDER / "logs"}
""")
    say("waiting for the sensor: the first sync, then the mirror of the next SQLMesh run (a minute or two)")
    wait_for("the first sync", lambda: ended_run(page, SYNC_JOB), children)
    say("the first sync is done")
    run = wait_for("the mirror of a run", lambda: ended_run(page, MIRROR_JOB), children)
    say(f"the first run is mirrored: {run['status']}, {page}/runs/{run['runId']}")
    show(page)
    if once:
        if run["status"] != "SUCCESS":
            raise DemoError(f"the mirror ended as {run['status']}")
        say(f"all of it in {time.monotonic() - began:.0f} s; ending")
        return
    say("SQLMesh goes on, and every fourth run has a model that fails. Ctrl-C ends everything")
    while True:
        children.check()
        time.sleep(1)


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead the demo elsewhere."""
    ours = ("TCLOUD_", "TOBIKO_", "DAGSTER_", "SQLMESH_", "COFFEE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def plan(python: Path, project: Path, env: dict[str, str]) -> None:
    argv = [
        str(python),
        "-m",
        "tobikodata.sqlmesh_recorder",
        "-p",
        str(project),
        "--log-file-dir",
        str(FOLDER / "logs"),
        "plan",
    ]
    argv += ["--auto-apply", "--no-prompts", "--execution-time", "3 hours ago"]
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise DemoError("the plan failed:\n" + done.stdout)


def wait_for(what: str, ask: Callable[[], T | None], children: Children) -> T:
    until = time.monotonic() + TIME_LIMIT_S
    while time.monotonic() < until:
        children.check()
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.5)
    raise DemoError(f"{what} did not come within {TIME_LIMIT_S} s; see {FOLDER / 'logs'}")


def ended_run(page: str, job: str) -> dict[str, Any] | None:
    """The first run of the job that has ended."""
    query = """query ($job: String!) { runsOrError(filter: {pipelineName: $job}) {
      ... on Runs { results { runId status } } } }"""
    answer = graphql(page, query, {"job": job})
    runs = answer["runsOrError"].get("results", []) if answer else []
    ended = [run for run in runs if run["status"] in ("SUCCESS", "FAILURE", "CANCELED")]
    return ended[-1] if ended else None


def show(page: str) -> None:
    """What Dagster has recorded for each model, from the API of its own page."""
    query = """{ assetNodes { assetKey { path } isMaterializable
      assetMaterializations(limit: 1) { timestamp metadataEntries { label ... on UrlMetadataEntry { url } } }
      assetChecksOrError { ... on AssetChecks { checks { name executionForLatestMaterialization { status } } } } } }"""
    answer = graphql(page, query)
    if not answer:
        raise DemoError("Dagster's page does not answer any more")
    print()
    for node in sorted(answer["assetNodes"], key=lambda node: node["assetKey"]["path"]):
        materialization = next(iter(node["assetMaterializations"]), None)
        checks = node["assetChecksOrError"].get("checks", [])
        results = [check["executionForLatestMaterialization"] for check in checks]
        results_shown = [
            f"{check['name']} {result['status'].lower()}" for check, result in zip(checks, results) if result
        ]
        print("  " + ".".join(node["assetKey"]["path"]))
        if materialization:
            at = time.strftime("%H:%M:%S", time.localtime(float(materialization["timestamp"]) / 1000))
            link = next((entry["url"] for entry in materialization["metadataEntries"] if "url" in entry), "no link")
            print(f"      materialized {at}  {link}")
        elif not results_shown:
            print("      nothing to show yet")
        if results_shown:
            print(f"      checks: {', '.join(results_shown)}")
    print()


def graphql(page: str, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any] | None:
    """The answer's data; `None` while the page is not there."""
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(f"{page}/graphql", body, {"Content-Type": "application/json"})
    # Without a proxy: the page is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as response:
            answer = json.load(response)
    except (urllib.error.URLError, OSError):
        return None
    if answer.get("errors"):
        raise DemoError(f"Dagster refused a query: {answer['errors'][0]['message']}")
    data: dict[str, Any] = answer["data"]
    return data


def free_port() -> int:
    """The port that people know, or a free one."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise DemoError("no free port")


def tail(log: Path, lines: int = 20) -> str:
    return "\n".join("    " + line for line in log.read_text(errors="replace").splitlines()[-lines:])


def say(text: str) -> None:
    print(f"- {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
