"""A SQLMesh project of so many models, and runs of it in processes of their own: with and without the recorder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tree

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from cloud_server import CloudServer

ALONE, RECORDED, AWAY = "SQLMesh", "recorded", "recorded, server away"
LAYER = 10
AUDITS_EACH = 3
# Of a run, besides those of its models: the environment, its start and end, what is due.
OTHER_EVENTS = 4
LIMIT_S = 600.0

CONFIG = """\
gateways:
  local:
    connection: {type: duckdb, catalogs: {bench: "{{ env_var('BENCH_DATABASE') }}"}}
default_gateway: local
model_defaults: {dialect: duckdb, start: 2024-01-01}
"""
SOURCE = """\
MODEL (
  name bench.%(name)s, kind INCREMENTAL_BY_TIME_RANGE (time_column day), cron '@daily',
  audits (not_null(columns := (id)), unique_values(columns := (day)), few_rows(most := 100000))
);
SELECT day::DATE AS day, 1 AS id, day::TEXT AS name
FROM UNNEST(GENERATE_SERIES(@start_ds::DATE, @end_ds::DATE, INTERVAL 1 DAY)) AS days(day)
WHERE day BETWEEN @start_ds AND @end_ds
"""
TABLE = """\
MODEL (
  name bench.%(name)s, kind FULL, cron '@daily',
  audits (not_null(columns := (id)), unique_values(columns := (day)), few_rows(most := 100000))
);
SELECT a.day, a.id + 1 AS id, b.name FROM bench.%(first)s AS a JOIN bench.%(second)s AS b ON a.day = b.day
"""
FEW_ROWS = """\
AUDIT (name few_rows, blocking false);
SELECT COUNT(*) AS rows_of_it FROM @this_model HAVING COUNT(*) > @most
"""


@dataclass
class Project:
    """A planned project, of which each run is that of a copy, two days later."""

    python: Path
    executable: str
    folder: Path
    models: int

    def plan(self) -> None:
        (self.folder / "models").mkdir(parents=True)
        (self.folder / "audits").mkdir()
        (self.folder / "config.yaml").write_text(CONFIG)
        (self.folder / "audits" / "few_rows.sql").write_text(FEW_ROWS)
        for number in range(self.models):
            upstream = max(0, number - LAYER)
            names = {"name": f"m{number}", "first": f"m{upstream}", "second": f"m{upstream // LAYER * LAYER}"}
            text = (SOURCE if number < LAYER else TABLE) % names
            (self.folder / "models" / f"m{number}.sql").write_text(text)
        options = ["plan", "--auto-apply", "--no-prompts", "--execution-time", "2024-01-04"]
        argv = [self._sqlmesh(), *_within(self.folder), *options]
        done = subprocess.run(argv, env=_environ(self.folder), capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the plan failed: {done.stdout[-2000:]} {done.stderr[-2000:]}")

    def run(self, side: str) -> tree.Measured:
        """One run, measured. Fails if not all of it was recorded."""
        with tempfile.TemporaryDirectory(prefix="facade-bench-") as temporary:
            copy = Path(temporary) / "project"
            shutil.copytree(self.folder, copy)
            if side == ALONE:
                return self._measured(copy, side, "")
            if side == AWAY:
                measured = self._measured(copy, side, f"http://127.0.0.1:{_free_port()}")
                events = len((copy / "spool").read_bytes().splitlines())
                if events != self.models * (3 + AUDITS_EACH) + OTHER_EVENTS:
                    raise RuntimeError(f"{events} events are in the spool")
                return measured
            server = CloudServer(self.executable, Path(temporary))
            try:
                measured = self._measured(copy, side, server.base_url)
                if (found := _audits(server.base_url)) != self.models * AUDITS_EACH:
                    raise RuntimeError(f"{found} audits were recorded")
                return measured
            finally:
                server.stop()

    def _measured(self, copy: Path, side: str, url: str) -> tree.Measured:
        recorded = [str(self.python), "-m", "tobikodata.sqlmesh_recorder"]
        command = [self._sqlmesh()] if side == ALONE else recorded
        env = {**_environ(copy), "TCLOUD_BASE_URL": url, "TOBIKO_RECORDER_SPOOL": str(copy / "spool")}
        argv = [*command, *_within(copy), "run", "--end", "2024-01-05", "--skip-janitor"]
        measured = tree.run(argv, env, copy / "stdout", copy / "stderr", LIMIT_S)
        if measured.exit_code:
            raise RuntimeError(f"the run failed: {(copy / 'stdout').read_text()[-2000:]}")
        return measured

    def _sqlmesh(self) -> str:
        return str(self.python.with_name("sqlmesh"))


@contextmanager
def planned(python: Path, executable: str, models: int) -> Iterator[Project]:
    with tempfile.TemporaryDirectory(prefix="facade-bench-") as folder:
        project = Project(python.absolute(), executable, Path(folder) / "project", models)
        project.plan()
        for side in (ALONE, RECORDED):  # not counted
            project.run(side)
        yield project


def _within(folder: Path) -> list[str]:
    return ["--paths", str(folder), "--log-file-dir", str(folder / "logs")]


def _environ(folder: Path) -> dict[str, str]:
    # PYTHONPATH: the recorder of a working tree, by hand.
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TZ", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "BENCH_DATABASE": str(folder / "bench.db"),
        "SQLMESH__DISABLE_ANONYMIZED_ANALYTICS": "true",
        "MAX_FORK_WORKERS": "1",
        "COLUMNS": "200",
        "NO_PROXY": "*",
    }


def _audits(base_url: str) -> int:
    """In the newest run, which has ended well."""
    run = _get(base_url, "runs?environment=prod&last=true")[0]
    if run["status"] != "success":
        raise RuntimeError(f"the run is recorded as {run['status']}")
    return sum(len(evaluation["audits"]) for evaluation in _get(base_url, f"runs/{run['run_id']}/evaluations"))


def _get(base_url: str, path: str) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{base_url.rstrip('/')}/api/v1/{path}", timeout=30) as response:
        return json.load(response)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
