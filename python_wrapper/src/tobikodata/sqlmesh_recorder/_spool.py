"""Events that wait for a server: one JSON object a line, oldest first, shared by all processes of a user.

The lock is held for file operations only, never while something is sent.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ._file_lock import file_lock
from ._log import log

SPOOL_BYTES = 16 * 1024 * 1024


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
            if self._size() + sum(map(len, lines)) > SPOOL_BYTES:
                self._replace(self._without_oldest([*self._lines(), *lines]))
                return
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) > 0:
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # half a line, of a process that was killed while it wrote
                        file.write(b"\n")
                file.write(b"\n".join(lines) + b"\n")

    def read(self) -> list[bytes]:
        with self._locked():
            lines = self._lines()
            if not lines:
                self._replace([])
        return lines

    def remove(self, sent: Iterable[bytes]) -> None:
        gone = set(sent)
        with self._locked():
            self._replace([line for line in self._lines() if line not in gone])

    def draining(self) -> AbstractContextManager[bool]:
        """True for the one process that may send from the spool now."""
        return file_lock(self.path.with_name(self.path.name + ".drain"), 0.0)

    def _locked(self) -> AbstractContextManager[bool]:
        # Rather a lost line than a SQLMesh that waits: after a moment it goes on without the lock.
        return file_lock(self.path.with_name(self.path.name + ".lock"), 0.3)

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
        excess = sum(map(len, lines)) - SPOOL_BYTES * 9 // 10
        dropped = 0
        while dropped < len(lines) and excess > 0:
            excess -= len(lines[dropped])
            dropped += 1
        log.warning("the spool file %s is full: the oldest %d events are lost", self.path, dropped)
        return lines[dropped:]

    def _replace(self, lines: Sequence[bytes]) -> None:
        if not lines:
            self.path.unlink(missing_ok=True)
            return
        beside = self.path.with_name(f"{self.path.name}.{os.getpid()}.tmp")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(b"\n".join(lines) + b"\n")
        os.replace(beside, self.path)
