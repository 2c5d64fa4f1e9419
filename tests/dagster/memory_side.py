"""A Dagster instance with its usual storage in memory, where there is room for files: for tests that write much."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg


@contextmanager
def in_memory(home: Path) -> Iterator[dg.DagsterInstance]:
    """How long a disk takes to keep its promises is not what such a test is about."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        shutil.copytree(home, Path(folder) / "home")
        with dg.DagsterInstance.from_config(str(Path(folder) / "home")) as instance:
            yield instance
