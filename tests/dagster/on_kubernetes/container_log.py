"""A container's log as a container runtime writes it and a kubelet reads it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import IO

# containerd splits longer lines into several entries.
LONGEST_ENTRY = 16 * 1024


class ContainerLog:
    """Entries of both streams, in the order in which they were written."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, bytes, bool]] = []  # stamp, text, whether the line ends here
        self._changed = threading.Condition()
        self._ended = False

    def copy(self, source: IO[bytes], stamp: object) -> None:
        """Records what a process writes to one of its streams, until it ends."""
        with source:
            for line in iter(lambda: source.readline(LONGEST_ENTRY), b""):
                ends = line.endswith(b"\n")
                with self._changed:
                    self._entries.append((stamp(), line.rstrip(b"\n") if ends else line, ends))  # type: ignore[operator]
                    self._changed.notify_all()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def read(self, *, follow: bool, stamps: bool, since: str, tail: int | None) -> Iterator[bytes]:
        at = 0 if tail is None else max(0, len(self._entries) - tail)
        at_start_of_line = True
        while True:
            with self._changed:
                while follow and not self._ended and at >= len(self._entries):
                    self._changed.wait(1)
                new = self._entries[at:]
            if not new:
                return
            at += len(new)
            data = b""
            for stamp, text, ends in new:
                if since and stamp < since:
                    continue
                prefix = f"{stamp} ".encode() if stamps and at_start_of_line else b""
                data += prefix + text + (b"\n" if ends else b"")
                at_start_of_line = ends
                if len(data) > 30_000:
                    yield data
                    data = b""
            if data:
                yield data
            if not follow:
                return
