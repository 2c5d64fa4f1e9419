"""The sides of the comparison: the original, this project, and the floor under both."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tree
from cloud import Asked, Cloud
from delaying_proxy import Traffic
from storages import Sqlite, Storage

INSIDE = Path(__file__).parent / "inside.py"
LIMIT_S = 1800.0


@dataclass(frozen=True)
class Side:
    name: str
    python: Path


@dataclass(frozen=True)
class Outcome:
    """What one measured process used, what it asked the cloud, and what it printed."""

    measured: tree.Measured
    asked: Asked
    # To the database, where that is one across a network.
    traffic: Traffic
    answer: dict[str, Any]
    stderr: str


class Home:
    """A DAGSTER_HOME of its own, in which one side does one thing after the other."""

    def __init__(self, side: Side, cloud: Cloud, folder: Path, storage: Storage) -> None:
        self._side = side
        self._storage = storage
        self._cloud = cloud
        self._folder = folder
        home = folder / "dagster_home"
        home.mkdir()
        (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n" + storage.configuration())
        (folder / "tmp").mkdir()
        # What a person has set for a Dagster or a cloud of their own is not for this one.
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ") if name in os.environ}
        self.env = {
            **kept,
            "DAGSTER_HOME": str(home),
            "TMPDIR": str(folder / "tmp"),
            "TCLOUD_BASE_URL": cloud.base_url,
            "TCLOUD_TOKEN_URL": cloud.token_url,
            "TCLOUD_CLIENT_ID": "bench",
            "TCLOUD_CLIENT_SECRET": "bench",
            "TCLOUD_HOME": str(folder / "tcloud"),
            "TOBIKO_FACADE_CACHE_DIR": str(folder / "cache"),
            "NO_PROXY": "*",
        }
        self.do("prepare")

    def do(self, *arguments: str, **more_env: str) -> dict[str, Any]:
        """Something that is not measured."""
        argv = [str(self._side.python), str(INSIDE), *arguments]
        done = subprocess.run(argv, env={**self.env, **more_env}, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{self._side.name}: {arguments} failed: {done.stderr[-3000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def measure(self, *arguments: str, **more_env: str) -> Outcome:
        before, sent_before = self._cloud.asked(), self._storage.traffic()
        stdout, stderr = self._folder / "stdout", self._folder / "stderr"
        argv = [str(self._side.python), str(INSIDE), *arguments]
        measured = tree.run(argv, {**self.env, **more_env}, stdout, stderr, LIMIT_S)
        after, sent = self._cloud.asked(), self._storage.traffic()
        said = stderr.read_text(errors="replace")
        if measured.exit_code != 0:
            raise RuntimeError(f"{self._side.name}: {arguments} exited with {measured.exit_code}: {said[-3000:]}")
        answer = json.loads(stdout.read_text().splitlines()[-1])
        if answer.get("success") is False:
            raise RuntimeError(f"{self._side.name}: {arguments}: the Dagster run failed: {said[-3000:]}")
        asked = Asked(after.requests - before.requests, after.received_kb - before.received_kb)
        traffic = Traffic(
            sent.connections - sent_before.connections, sent.statements - sent_before.statements, sent.open_at_once
        )
        return Outcome(measured, asked, traffic, answer, said)


@contextmanager
def home(side: Side, cloud: Cloud, storage: Storage = Sqlite()) -> Iterator[Home]:  # noqa: B008  # holds nothing
    with tempfile.TemporaryDirectory(prefix="facade-bench-") as folder:
        yield Home(side, cloud, Path(folder), storage)
