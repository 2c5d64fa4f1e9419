"""The executable alone, launched as our jobs launch it: its messages go through a pipe, which is read and counted."""

from __future__ import annotations

import base64
import json
import os
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
    context = folder / "context"
    context.write_text(json.dumps({**CONTEXT, "extras": {"nodes": nodes}}))
    env = {
        "TCLOUD_BASE_URL": served.base_url,
        "TCLOUD_TOKEN_URL": served.token_url,
        "TCLOUD_CLIENT_ID": "bench",
        "TCLOUD_CLIENT_SECRET": "bench",
        "TOBIKO_FACADE_CACHE_DIR": str(folder / "cache"),
        "NO_PROXY": "*",
        "DAGSTER_PIPES_CONTEXT": packed({"path": str(context)}),
        "DAGSTER_PIPES_MESSAGES": packed({"stdio": "stdout"}),
    }
    argv = [executable, "mirror", f"--run-id={run_id}"]
    with _Reader(folder / "messages") as told:
        measured = tree.run(argv, env, told.pipe, folder / "stderr", limit_s=300)
    if measured.exit_code != 0 or b'"tobiko":"done"' not in told.tail:
        raise RuntimeError(f"{argv} did not tell all: {(folder / 'stderr').read_text()[-3000:]}")
    return Run(measured, told.first_at - measured.begun, told.messages)


def packed(value: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(value).encode())).decode()


class _Reader(Thread):
    """Reads a named pipe to its end."""

    def __init__(self, pipe: Path) -> None:
        super().__init__(daemon=True)
        self.pipe = pipe
        self.first_at = 0.0
        self.messages = 0
        self.tail = b""

    def __enter__(self) -> _Reader:
        os.mkfifo(self.pipe)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join()
        self.pipe.unlink()

    def run(self) -> None:
        with self.pipe.open("rb", buffering=0) as channel:
            while chunk := channel.read(1 << 16):
                self.first_at = self.first_at or time.monotonic()
                self.messages += chunk.count(b"\n")
                self.tail = (self.tail + chunk)[-4096:]
