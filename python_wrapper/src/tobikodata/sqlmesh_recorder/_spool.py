"""Events that wait for a server: one JSON object per line, oldest first, shared by all processes of a user.

The lock is held during file operations only, never while events are sent.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ._guard import log

MAX_SPOOL_BYTES = 16 * 1024 * 1024


class Spool:
    def __init__(self, path: Path) -> None:
        self.path = path

    def is_empty(self) -> bool:
        return self._size() == 0

    def append(self, lines: Iterable[bytes]) -> None:
        lines = [line for line in lines if b'"type": "heartbeat"' not in line]
        if not lines:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked():
            if self._size() + sum(map(len, lines)) > MAX_SPOOL_BYTES:
                self._replace(self._without_oldest([*self._lines(), *lines]))
                return
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # half a line: its process was killed while writing
                        file.write(b"\n")
                file.write(b"\n".join(lines) + b"\n")

    def read(self) -> list[bytes]:
        with self._locked():
            lines = self._lines()
            if not lines:
                self._replace([])
        return lines

    def remove(self, sent: Iterable[bytes]) -> None:
        sent = set(sent)
        with self._locked():
            self._replace([line for line in self._lines() if line not in sent])

    def draining(self) -> AbstractContextManager[bool]:
        """A context that yields True in the one process that may send from the spool now."""
        return _file_lock(self.path.with_name(self.path.name + ".drain"), 0.0)

    def _locked(self) -> AbstractContextManager[bool]:
        # SQLMesh must not wait: after a moment this goes on without the lock, at the risk of a lost line.
        return _file_lock(self.path.with_name(self.path.name + ".lock"), 0.3)

    def _size(self) -> int:
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def _lines(self) -> list[bytes]:
        try:
            lines = self.path.read_bytes().split(b"\n")
        except OSError:
            return []
        return [line for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    def _without_oldest(self, lines: list[bytes]) -> list[bytes]:
        excess = sum(map(len, lines)) - MAX_SPOOL_BYTES * 9 // 10
        dropped = 0
        while dropped < len(lines) and excess > 0:
            excess -= len(lines[dropped])
            dropped += 1
        log.warning("the spool file %s is full: its oldest %d events were dropped", self.path, dropped)
        return lines[dropped:]

    def _replace(self, lines: Sequence[bytes]) -> None:
        if not lines:
            self.path.unlink(missing_ok=True)
            return
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        os.replace(temporary, self.path)


@contextlib.contextmanager
def _file_lock(path: Path, timeout_seconds: float) -> Iterator[bool]:
    """Locks a file against other processes, and yields whether that succeeded.

    The system releases the lock of a process that dies.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield True
        return
    deadline = time.monotonic() + timeout_seconds
    is_locked = False
    with open(path, "ab") as file:
        while True:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_locked = True
            if is_locked or time.monotonic() >= deadline:
                break
            time.sleep(0.01)
        yield is_locked
