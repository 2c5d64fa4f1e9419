"""Reads the Pipes channel and loses nothing.

The stock reader takes a partly written line for a line, and its thread ends there while the run stays green.
This one keeps what has come since the last newline, and goes on after a line that it cannot read.
"""

from __future__ import annotations

import json
import os
import queue
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event as Flag
from threading import Thread
from typing import Any, Callable, Protocol

import dagster as dg

from ._messages import Assembler, Event, Standard, Unreadable

LOOK_EVERY_S = 0.02


class Handler(Protocol):
    """Where a message goes: Dagster's PipesMessageHandler, or whatever takes one message at a time."""

    def handle_message(self, message: Any) -> None: ...


class LosslessMessageReader(dg.PipesMessageReader):
    """Tails a temporary file and hands over each message in order, once, as soon as its line is complete.

    `warn` is called, in the reader's thread, with a sentence on what could not be read or handled.
    """

    expected_writer_count = 1

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._stop = Flag()
        self._thread: Thread | None = None

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        with tempfile.TemporaryDirectory(prefix="tobiko-facade-") as folder:
            path = os.path.join(folder, "messages")
            Path(path).touch()
            self._thread = Thread(target=self._follow, args=(path, handler), daemon=True)
            self._thread.start()
            try:
                yield {"path": path}
            finally:
                self.finish()

    def finish(self) -> None:
        """Reads to the end of the file and stops. To be called when nobody writes any more."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    def no_messages_debug_text(self) -> str:
        return "Read a temporary file on the machine of this process."

    def _follow(self, path: str, handler: Handler) -> None:
        rest = b""
        with open(path, "rb") as file:
            while True:
                # Asked before reading: all that was written before the stop is then read.
                last_look = self._stop.is_set()
                chunk = file.read(1 << 20)
                if chunk:
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        self._hand_over(line, handler)
                elif last_look:
                    break
                else:
                    self._stop.wait(LOOK_EVERY_S)
        if rest.strip():
            self._warn(f"the last message was cut off after {len(rest)} bytes: {_start_of(rest)}")

    def _hand_over(self, line: bytes, handler: Handler) -> None:
        if not line.strip():
            return
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("it is no JSON object")
            handler.handle_message(message)
        except Exception as error:  # whatever one line brings, the next ones must be read
            self._warn(f"a message could not be read ({type(error).__name__}: {error}): {_start_of(line)}")


class EventQueue:
    """What was told, as events, until the launching thread takes them: one writer to Dagster."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._assembler = Assembler()
        self._standard: Handler | None = None

    def handle_message(self, message: Mapping[str, Any]) -> None:
        for event in self._assembler.feed(message):
            self.events.put(event)

    def take(self, wait_s: float) -> list[Event]:
        """What has come; waits that long for the first."""
        taken: list[Event] = []
        try:
            taken.append(self.events.get(timeout=wait_s) if wait_s else self.events.get_nowait())
            while True:
                taken.append(self.events.get_nowait())
        except queue.Empty:
            return taken

    def handle(self, event: Event) -> None:
        """Hands one of Dagster's own messages to Dagster's handler."""
        if isinstance(event, Standard) and self._standard:
            self._standard.handle_message(event.message)


class EventReader(EventQueue, LosslessMessageReader):
    """Reads the channel of a process on this machine."""

    def __init__(self) -> None:
        EventQueue.__init__(self)
        LosslessMessageReader.__init__(self, warn=lambda why: self.events.put(Unreadable(why)))

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        self._standard = handler
        with super().read_messages(self) as params:
            yield params
        for event in self.take(0):  # `closed` at the latest, which Dagster looks for when the session ends
            self.handle(event)


def _start_of(line: bytes) -> str:
    text = line[:200].decode("utf-8", "replace")
    return text if len(line) <= 200 else f"{text}... ({len(line)} bytes)"
