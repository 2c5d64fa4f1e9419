"""A Dagster deployment whose parts can be killed one by one, and started again.

Every process carries a token of this run in its environment: what is ours is known by it, and ended by its id.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import dagster as dg

LOCATION = "ours"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))

PARTS = ("code server", "webserver", "daemon")


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
    """For a server that cannot be started on port 0, or is started again on the same one. Not of those that the system
    gives to connections and to other listeners: nothing takes it before the server does."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(first, 20_000))
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def ask_graphql(page: str, query: str, limit_s: float = 20, **variables: Any) -> dict[str, Any] | None:
    """What a webserver answers; None if nobody is there."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(f"{page}/graphql", body, {"Content-Type": "application/json"})
    try:
        with OPENER.open(request, timeout=limit_s) as response:
            answer = json.load(response)
    except (urllib.error.URLError, OSError, ValueError):
        return None
    assert "errors" not in answer, answer["errors"]
    data: dict[str, Any] = answer["data"]
    return data


class Deployment:
    def __init__(self, folder: Path, definitions: Path, settings: str, env: dict[str, str]) -> None:
        """`definitions`: the code location's file. `settings`: dagster.yaml, besides what every test has."""
        self.folder = folder
        self.home = folder / "dagster_home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(f"telemetry:\n  enabled: false\n{settings}")
        self._token = f"TOBIKO_CHAOS={uuid.uuid4()}"
        self.page_port, code_port = free_port(), free_port()
        workspace = {
            "load_from": [{"grpc_server": {"host": "127.0.0.1", "port": code_port, "location_name": LOCATION}}]
        }
        (folder / "workspace.yaml").write_text(json.dumps(workspace))
        ours = ("TCLOUD_", "TOBIKO_", "DAGSTER_")
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
            **dict([self._token.split("=")]),
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_GRAPHQL_PORT": str(self.page_port),
            "TCLOUD_HOME": str(folder / "tcloud"),
            "TOBIKO_FACADE_CACHE_DIR": str(folder / "cache"),
            "NO_PROXY": "127.0.0.1",
            **env,
        }
        dagster = [sys.executable, "-m", "dagster"]
        workspace_file = f"--workspace={folder / 'workspace.yaml'}"
        host = "--host=127.0.0.1"
        code = [f"--python-file={definitions}", f"--location-name={LOCATION}"]
        self._parts: dict[str, list[str]] = {
            "code server": [*dagster, "code-server", "start", *code, host, f"--port={code_port}"],
            "webserver": [sys.executable, "-m", "dagster_webserver", host, f"--port={self.page_port}", workspace_file],
            "daemon": [sys.executable, "-m", "dagster._daemon", "run", workspace_file],
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, parts: Sequence[str] = PARTS) -> None:
        # Before the parts come, all at once: of two that make a database, one fails.
        with dg.DagsterInstance.from_config(str(self.home)) as instance:
            instance.get_runs(limit=1)
            instance.get_asset_records()
            instance.all_instigator_state()
        for part in parts:
            self.start_part(part)
        # Whatever a busy machine needs.
        self.wait_for("Dagster's page", self.answers, 600)

    def start_part(self, part: str) -> None:
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
            self.start_part(part)
        return ended

    def answers(self) -> bool:
        data = self.ask("{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }")
        return bool(data and data["repositoriesOrError"].get("nodes"))

    def ask(self, query: str, **variables: Any) -> dict[str, Any] | None:
        """Dagster's page, by GraphQL; None if nobody is there."""
        return ask_graphql(f"http://127.0.0.1:{self.page_port}", query, **variables)

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
        self._running[part].wait()

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
