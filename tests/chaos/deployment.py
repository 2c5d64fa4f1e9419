"""A Dagster deployment whose parts can be killed one by one, and come back as under a supervisor.

Every process carries a token of this run in its environment: what is ours is known by it, and ended by its id.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import dagster as dg

HERE = Path(__file__).parent
CLIENT = {"TCLOUD_CLIENT_ID": "dagster", "TCLOUD_CLIENT_SECRET": "hush-hush-chaos"}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

# What Dagster's own documents advise for deployments: without it, a run whose worker never started stays so for ever.
DAGSTER_YAML = """
telemetry:
  enabled: false
run_monitoring:
  enabled: true
  start_timeout_seconds: 40
  poll_interval_seconds: 5
"""


@dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    argv: tuple[str, ...]

    def kill(self) -> bool:
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Deployment:
    def __init__(self, folder: Path, executable: str, base_url: str, token_url: str) -> None:
        self.folder = folder
        self.home = folder / "dagster_home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(DAGSTER_YAML)
        self._token = f"TOBIKO_CHAOS={uuid.uuid4()}"
        self.page_port, code_port = free_port(), free_port()
        workspace = {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": code_port, "location_name": "chaos"}}]}
        (folder / "workspace.yaml").write_text(json.dumps(workspace))
        ours = ("TCLOUD_", "TOBIKO_", "DAGSTER_")
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            **CLIENT,
            **dict([self._token.split("=")]),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_GRAPHQL_PORT": str(self.page_port),
            "TCLOUD_BASE_URL": base_url,
            "TCLOUD_TOKEN_URL": token_url,
            "TCLOUD_HOME": str(folder / "tcloud"),
            "TOBIKO_FACADE_CACHE_DIR": str(folder / "cache"),
            "TOBIKO_FACADE_EXECUTABLE": executable,
            "TOBIKO_FACADE_POLL_INTERVAL_S": "1",
            "TOBIKO_FACADE_REQUEST_LIMIT_S": "3",
            "TOBIKO_FACADE_CALL_LIMIT_S": "10",
            "NO_PROXY": "127.0.0.1",
        }
        dagster = [sys.executable, "-m", "dagster"]
        workspace_file = f"--workspace={folder / 'workspace.yaml'}"
        host = "--host=127.0.0.1"
        code = [f"--python-file={HERE / 'definitions.py'}", "--location-name=chaos"]
        self._parts: dict[str, list[str]] = {
            "code server": [*dagster, "code-server", "start", *code, host, f"--port={code_port}"],
            "webserver": [sys.executable, "-m", "dagster_webserver", host, f"--port={self.page_port}", workspace_file],
            "daemon": [sys.executable, "-m", "dagster._daemon", "run", workspace_file],
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        # Before the parts come, all at once: of two that make a database, one fails.
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            instance.get_runs(limit=1)
            instance.get_asset_records()
            instance.all_instigator_state()
        for part in self._parts:
            self._start(part)
        # Whatever a busy machine needs.
        self.wait_for("Dagster's page", self.answers, 180)

    def _start(self, part: str) -> None:
        with (self.folder / f"{part.replace(' ', '_')}.log").open("ab") as log:
            self._running[part] = subprocess.Popen(
                self._parts[part],
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def supervise(self) -> list[str]:
        """Starts again what has ended; says what that was."""
        ended = [part for part, process in self._running.items() if process.poll() is not None]
        for part in ended:
            self._start(part)
        return ended

    def answers(self) -> bool:
        query = json.dumps({"query": "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"})
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.page_port}/graphql", query.encode(), {"Content-Type": "application/json"}
        )
        try:
            with OPENER.open(request, timeout=20) as response:
                return bool(json.load(response)["data"]["repositoriesOrError"].get("nodes"))
        except (urllib.error.URLError, OSError, ValueError):
            return False

    def wait_for(self, what: str, fact: Callable[[], Any], limit_s: float) -> Any:
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            found = fact()
            if found:
                return found
            time.sleep(0.5)
        raise TimeoutError(f"{what} did not come within {limit_s:.0f} s")

    def processes(self) -> list[Process]:
        """Ours, whoever started them."""
        found = []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                folder = Path("/proc") / entry
                if self._token.encode() not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                argv = (folder / "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
                # The name in brackets may hold anything.
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            found.append(Process(int(entry), parent, tuple(argv)))
        return found

    def mirrors(self) -> list[Process]:
        """The executables that follow a remote run now."""
        return [process for process in self.processes() if "mirror" in process.argv[1:2]]

    def code_server(self) -> list[Process]:
        """The server that is asked, then the process behind it that has loaded the code. Not the run workers."""
        front = self._running["code server"].pid
        ours = {process.pid: process for process in self.processes()}
        behind = [process for process in ours.values() if process.parent == front and "grpc" in process.argv]
        return [ours[front], *behind] if front in ours else behind

    def kill(self, part: str) -> None:
        self._running[part].kill()

    def end(self) -> None:
        """Ends everything that carries our token, by its id."""
        for process in self._running.values():
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        until = time.monotonic() + 15
        while time.monotonic() < until and any(process.poll() is None for process in self._running.values()):
            time.sleep(0.2)
        while left := self.processes():
            for process in left:
                process.kill()
            time.sleep(0.2)
        for started in self._running.values():
            started.wait()
