"""Launches the executable as a child process, hands on what it tells, and ends it."""

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
from ._launcher import Launched, Launcher, SessionContext
from ._reader import EventReader

STOP_LIMIT_S = 5.0

# Tells the executable that its stdin stays open as long as this process lives, and that it is to end when it closes.
STDIN_IS_HELD = "TOBIKO_FACADE_STDIN_IS_HELD"


class SubprocessLauncher(Launcher):
    """Runs the executable as a child of the process of the job: the default."""

    @contextmanager
    def launch(
        self,
        connection: Connection,
        arguments: Sequence[str],
        context: Any,
        *,
        nodes: Sequence[str] | None = None,
        stdout: Sequence[IO[str]] = (),
        stderr: Sequence[IO[str]] = (),
    ) -> Iterator[Launched]:
        path = _executable.find()
        reader = EventReader()
        with dg.open_pipes_session(
            context=SessionContext(context),  # type: ignore[arg-type]  # it has what is asked for
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
            launched = _Child(path, process, reader, context.log, connection.without_secrets)
            launched.forward([sys.stdout, *stdout], [sys.stderr, *stderr])
            try:
                yield launched
            finally:
                launched.stop()

    def __repr__(self) -> str:
        return "SubprocessLauncher()"


class _Child(Launched):
    """A child process. It ends, too, when nobody holds its stdin any more."""

    def __init__(
        self,
        path: str,
        process: subprocess.Popen[bytes],
        reader: EventReader,
        log: Any,
        hide: Callable[[str], str],
    ) -> None:
        super().__init__(reader, log)
        self._path = path
        self._process = process
        self._reader = reader
        self._hide = hide
        self._outputs: list[Thread] = []
        self._stderr_tail: deque[bytes] = deque(maxlen=40)

    def how_it_ended(self) -> str:
        self._join_outputs()
        stderr = b"".join(self._stderr_tail).decode("utf-8", "replace")
        return self._hide(_executable.ended_with(self._path, self._process.returncode, stderr))

    def stop(self) -> None:
        """Asked first, after 5 s not asked any more."""
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

    def _is_over(self) -> bool:
        over = self._process.poll() is not None
        if over:
            self._reader.finish()
        return over

    def _join_outputs(self) -> None:
        for thread in self._outputs:
            thread.join(timeout=2)


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
