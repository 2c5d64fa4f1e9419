"""Reads the Pipes channel and loses nothing.

The executable tells its messages on its stdout, a line each. A pipe needs no room on a disk, wakes its reader at
once, and holds up a writer that is quicker than its reader. The stock reader tails a file; it takes a partly written
line for a line, and its thread ends there while the run stays green. This one keeps what has come since the last
newline, and goes on after a line that it cannot read.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Callable, Protocol

import dagster as dg

from .messages import Assembler, Event, Standard, Unreadable

# What a line must hold to be a message of Dagster Pipes.
MARK = '"__dagster_pipes_version"'


class Handler(Protocol):
    """Where a message goes: Dagster's PipesMessageHandler, or whatever takes one message at a time."""

    def handle_message(self, message: Any) -> None: ...


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


class EventReader(EventQueue, dg.PipesMessageReader):
    """Reads what a child process tells on its stdout."""

    # The newest Dagster warns of its own default.
    expected_writer_count = 1

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        self._standard = handler
        yield {"stdio": "stdout"}
        for event in self.take(0):  # `closed` at the latest, which Dagster looks for when the session ends
            self.handle(event)

    def no_messages_debug_text(self) -> str:
        return "Read the stdout of a child process."

    def follow(self, stdout: IO[bytes], forward: Callable[[str], None]) -> None:
        """Reads to the end. `forward` gets the lines that are no messages: whatever else the process prints."""
        rest = b""
        with stdout:
            while chunk := stdout.read1(1 << 16):  # type: ignore[attr-defined]  # a BufferedReader has it
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._hear(line, forward)
        if MARK.encode() in rest:
            why = f"the last message was cut off after {len(rest)} bytes: {_start_of(rest)}"
            self.events.put(Unreadable(why))
        elif rest:
            forward(rest.decode("utf-8", "replace"))

    def _hear(self, line: bytes, forward: Callable[[str], None]) -> None:
        try:
            message = message_in(line)
            if message is not None:
                self.handle_message(message)
                return
        except Exception as error:  # whatever one line brings, the next ones must be read
            why = f"{type(error).__name__}: {error}: {_start_of(line)}"
            self.events.put(Unreadable(why))
            return
        forward(line.decode("utf-8", "replace") + "\n")


def message_in(line: str | bytes) -> dict[str, Any] | None:
    """A line's message; None: it is something else. ValueError: it should be one, and cannot be read."""
    if (MARK if isinstance(line, str) else MARK.encode()) not in line:  # type: ignore[operator]  # of one type
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("it is no JSON object")
    return message


def _start_of(line: bytes) -> str:
    text = line[:200].decode("utf-8", "replace")
    return text if len(line) <= 200 else f"{text}... ({len(line)} bytes)"
