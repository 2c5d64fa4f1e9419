"""Reads the Pipes channel without losing messages.

The executable writes its messages to its stdout, one per line. A pipe needs no disk space, wakes its reader at
once, and blocks a writer that is faster than its reader. Dagster's stock reader tails a file; it takes a partly
written line for a whole one, and its thread ends there while the run stays green. This reader buffers until the
newline, and continues after a line that it cannot parse.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Callable, Protocol

import dagster as dg

from .messages import Assembler, Event, PipesMessage, Unreadable

# What a line must hold to be a message of Dagster Pipes.
MARK = '"__dagster_pipes_version"'


class Handler(Protocol):
    """Takes one message at a time: Dagster's PipesMessageHandler, or one of our own."""

    def handle_message(self, message: Any) -> None: ...


class EventQueue:
    """Events that wait for the launching thread, the only one that writes to Dagster."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._assembler = Assembler()
        self._pipes_handler: Handler | None = None

    def handle_message(self, message: Mapping[str, Any]) -> None:
        for event in self._assembler.feed(message):
            self.events.put(event)

    def take(self, wait_s: float) -> list[Event]:
        """The events received so far; waits up to `wait_s` seconds for the first."""
        taken: list[Event] = []
        try:
            taken.append(self.events.get(timeout=wait_s) if wait_s else self.events.get_nowait())
            while True:
                taken.append(self.events.get_nowait())
        except queue.Empty:
            return taken

    def handle(self, event: Event) -> None:
        """Passes one of Dagster's own messages to Dagster's handler."""
        if isinstance(event, PipesMessage) and self._pipes_handler:
            self._pipes_handler.handle_message(event.message)


class EventReader(EventQueue, dg.PipesMessageReader):
    """Reads the messages that a child process writes to its stdout."""

    # The newest Dagster warns of its own default.
    expected_writer_count = 1

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        self._pipes_handler = handler
        yield {"stdio": "stdout"}
        for event in self.take(0):  # such as `closed`, which Dagster expects before the session ends
            self.handle(event)

    def no_messages_debug_text(self) -> str:
        return "Read the stdout of a child process."

    def follow(self, stdout: IO[bytes], forward: Callable[[str], None]) -> None:
        """Reads to the end. `forward` gets the lines that are not messages: whatever else the process prints."""
        rest = b""
        with stdout:
            while chunk := stdout.read1(1 << 16):  # type: ignore[attr-defined]  # a BufferedReader has it
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._handle_line(line, forward)
        if MARK.encode() in rest:
            why = f"the last message was cut off after {len(rest)} bytes: {_start_of(rest)}"
            self.events.put(Unreadable(why))
        elif rest:
            forward(rest.decode("utf-8", "replace"))

    def _handle_line(self, line: bytes, forward: Callable[[str], None]) -> None:
        try:
            message = message_in(line)
            if message is not None:
                self.handle_message(message)
                return
        except Exception as error:  # whatever is wrong with one line, the next ones must be read
            why = f"{type(error).__name__}: {error}: {_start_of(line)}"
            self.events.put(Unreadable(why))
            return
        forward(line.decode("utf-8", "replace") + "\n")


def message_in(line: str | bytes) -> dict[str, Any] | None:
    """The message of a line, or None if the line is something else.

    Raises:
        ValueError: The line is marked as a message and cannot be parsed.
    """
    if (MARK if isinstance(line, str) else MARK.encode()) not in line:  # type: ignore[operator]  # of one type
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def _start_of(line: bytes) -> str:
    text = line[:200].decode("utf-8", "replace")
    return text if len(line) <= 200 else f"{text}... ({len(line)} bytes)"
