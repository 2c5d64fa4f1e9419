"""The executable alone, launched as Dagster launches it: its messages go to a file."""

from __future__ import annotations

import base64
import json
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import tree
from cloud import Cloud

CONTEXT = {
    "asset_keys": None,
    "code_version_by_asset_key": None,
    "provenance_by_asset_key": None,
    "partition_key": None,
    "partition_key_range": None,
    "partition_time_window": None,
    "run_id": "bench",
    "job_name": "bench",
    "retry_number": 0,
}


@dataclass(frozen=True)
class Run:
    measured: tree.Measured
    first_message_s: float
    messages: int


def mirror(executable: str, served: Cloud, run_id: str, folder: Path) -> Run:
    nodes = [node["name"] for node in served.state(run_id="none")["environments"]["prod"]["nodes"]]
    context, messages = folder / "context", folder / "messages"
    context.write_text(json.dumps({**CONTEXT, "extras": {"nodes": nodes}}))
    messages.write_bytes(b"")
    env = {
        "TCLOUD_BASE_URL": served.base_url,
        "TCLOUD_TOKEN_URL": served.token_url,
        "TCLOUD_CLIENT_ID": "bench",
        "TCLOUD_CLIENT_SECRET": "bench",
        "TOBIKO_FACADE_CACHE_DIR": str(folder / "cache"),
        "NO_PROXY": "*",
        "DAGSTER_PIPES_CONTEXT": packed({"path": str(context)}),
        "DAGSTER_PIPES_MESSAGES": packed({"path": str(messages)}),
    }
    first = _First(messages)
    first.start()
    argv = [executable, "mirror", f"--run-id={run_id}"]
    measured = tree.run(argv, env, folder / "stdout", folder / "stderr", limit_s=300)
    first.join()
    told = messages.read_bytes()
    if measured.exit_code != 0 or b'"tobiko":"done"' not in told[-4096:]:
        raise RuntimeError(f"{argv} did not tell all: {(folder / 'stderr').read_text()[-3000:]}")
    return Run(measured, first.at - measured.begun, told.count(b"\n"))


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


class _First(Thread):
    """When the first message came."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self._path = path
        self.at = 0.0

    def run(self) -> None:
        until = time.monotonic() + 10
        while not self._path.stat().st_size and time.monotonic() < until:
            time.sleep(0.0005)
        self.at = time.monotonic()
