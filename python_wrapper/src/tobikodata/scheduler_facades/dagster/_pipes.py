"""Launches the executable under Dagster Pipes, hands on what it tells, and ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread
from typing import IO, Any, Callable

import dagster as dg

from . import _executable
from ._connection import Connection
from ._messages import Done, Event, Standard, Unreadable
from ._reader import EventReader

STOP_LIMIT_S = 5.0

# Tells the executable that its stdin stays open as long as this process lives, and that it is to end when it closes.
STDIN_IS_HELD = "TOBIKO_FACADE_STDIN_IS_HELD"


class Launched:
    """A running `tobiko-facade sync` or `mirror`."""

    def __init__(
        self,
        path: str,
        process: subprocess.Popen[bytes],
        reader: EventReader,
        log: Any,
        hide: Callable[[str], str],
    ) -> None:
        self._path = path
        self._process = process
        self._reader = reader
        self._log = log
        self._hide = hide
        self._outputs: list[Thread] = []
        self._stderr_tail: deque[bytes] = deque(maxlen=40)
        self.ended = False

    def events(self, wait_s: float = 0.1) -> list[Event]:
        """What has been told since the last call. Sets `ended` when the process is over and all is told."""
        exited = self._process.poll() is not None
        if exited:
            self._reader.finish()
        events = self._reader.take(0 if exited else wait_s)
        self.ended = exited
        rest: list[Event] = []
        for event in events:
            if isinstance(event, Standard):
                self._reader.handle(event)
            elif isinstance(event, Unreadable):
                self._log.warning(f"a message of {_executable.NAME} was not understood: {event.why}")
            else:
                rest.append(event)
        return rest

    def without_last_word(self, done: Done | None) -> str | None:
        """Why not all was told; None if all was."""
        if done is None:
            return self.how_it_ended()
        return None if done.told_all else f"not all could be told: {done.reason or 'no reason given'}"

    def how_it_ended(self) -> str:
        """A sentence on a process that ended without its last word."""
        self._join_outputs()
        stderr = b"".join(self._stderr_tail).decode("utf-8", "replace")
        return self._hide(_executable.ended_with(self._path, self._process.returncode, stderr))

    def stop(self) -> None:
        """Ends the process: asked first, after 5 s not asked any more."""
        if self._process.poll() is None:
            if os.name == "nt":
                self._process.terminate()
            else:
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout=STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        self._join_outputs()

    def forward(self, stdout: Sequence[IO[str]], stderr: Sequence[IO[str]]) -> None:
        """Reads both streams, so that a child that prints much never waits for a reader."""
        for source, targets, tail in (
            (self._process.stdout, stdout, None),
            (self._process.stderr, stderr, self._stderr_tail),
        ):
            thread = Thread(target=_copy, args=(source, targets, tail, self._hide), daemon=True)
            thread.start()
            self._outputs.append(thread)

    def _join_outputs(self) -> None:
        for thread in self._outputs:
            thread.join(timeout=2)


class _SessionContext:
    """What a Pipes session asks of a context, of a whole run's or an op's.

    It knows no assets: for an op with assets or checks, Dagster would else insist on results that pass
    through the session.
    """

    has_assets_def = False
    has_partition_key = False
    retry_number = 0

    def __init__(self, context: Any) -> None:
        self._context = context
        self.run_id: str = context.run_id
        self.job_name: str = context.job_name
        self.dagster_run = context.dagster_run
        self.log = context.log

    def get_step_execution_context(self) -> Any:
        """Where an exception of the session would be told: on the step, or on the run."""
        of_step = getattr(self._context, "get_step_execution_context", None)
        return of_step() if of_step else self._context


@contextmanager
def launch(
    connection: Connection,
    arguments: Sequence[str],
    context: Any,
    *,
    nodes: Sequence[str] | None = None,
    stdout: Sequence[IO[str]] = (),
    stderr: Sequence[IO[str]] = (),
) -> Iterator[Launched]:
    """Runs the executable for the length of the block; whatever ends the block ends it too.

    `context` is that of an op, or of a whole run: where its log lines go.
    """
    path = _executable.find()
    reader = EventReader()
    with dg.open_pipes_session(
        context=_SessionContext(context),  # type: ignore[arg-type]  # it has what is asked for
        context_injector=dg.PipesTempFileContextInjector(),
        message_reader=reader,
        extras={"nodes": list(nodes)} if nodes is not None else {},
    ) as session:
        try:
            process = subprocess.Popen(
                [path, *arguments],
                env={**connection.environ(), **session.get_bootstrap_env_vars(), STDIN_IS_HELD: "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as error:
            raise _executable.cannot_start(path, error) from None
        launched = Launched(path, process, reader, context.log, connection.without_secrets)
        launched.forward([sys.stdout, *stdout], [sys.stderr, *stderr])
        try:
            yield launched
        finally:
            launched.stop()


def _copy(
    source: IO[bytes],
    targets: Sequence[IO[str]],
    tail: deque[bytes] | None,
    hide: Callable[[str], str],
) -> None:
    with source:
        # A line without end is handed on in parts.
        for line in iter(lambda: source.readline(1 << 16), b""):
            if tail is not None:
                tail.append(line)
            for target in targets:
                try:
                    target.write(hide(line.decode("utf-8", "replace")))
                    target.flush()
                except (OSError, ValueError):  # closed, or a full disk: the child must not wait for it
                    continue
