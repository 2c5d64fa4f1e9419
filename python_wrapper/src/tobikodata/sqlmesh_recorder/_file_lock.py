"""A lock between processes, which the system takes back from a dead one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def file_lock(path: Path, patience_seconds: float) -> Iterator[bool]:
    """Yields whether it was got."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    deadline = time.monotonic() + patience_seconds
    is_mine = False
    with open(path, "ab") as file:
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_mine = True
            if is_mine or time.monotonic() >= deadline:
                break
            time.sleep(0.01)
        yield is_mine
