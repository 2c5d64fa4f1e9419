"""Launches the executable as a child process, passes on what it reports, and ends it."""

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

from .._events.reader import EventReader
from . import executable
from .connection import Connection
from .launcher import Launched, Launcher, SessionContext

STOP_LIMIT_S = 5.0

# Announces to the executable that its stdin stays open for as long as this process lives, and that it is to exit when
# its stdin is closed.
STDIN_IS_HELD = "TOBIKO_FACADE_STDIN_IS_HELD"


class SubprocessLauncher(Launcher):
    """Runs the executable as a child of the job's process. The default."""

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
        path = executable.find()
        reader = EventReader()
        with dg.open_pipes_session(
            context=SessionContext(context),  # type: ignore[arg-type]  # it has the attributes that are used
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
                raise executable.cannot_start(path, error) from None
            launched = _Child(path, process, reader, context.log, connection.redact)
            launched.start_readers([sys.stdout, *stdout], [sys.stderr, *stderr])
            try:
                yield launched
            finally:
                launched.stop()

    def __repr__(self) -> str:
        return "SubprocessLauncher()"


class _Child(Launched):
    """A child process. It also exits when nobody holds its stdin open any more."""

    def __init__(
        self,
        path: str,
        process: subprocess.Popen[bytes],
        reader: EventReader,
        log: Any,
        redact: Callable[[str], str],
    ) -> None:
        super().__init__(reader, log)
        self._path = path
        self._process = process
        self._reader = reader
        self._redact = redact
        self._readers: list[Thread] = []
        self._stderr_tail: deque[bytes] = deque(maxlen=40)

    def exit_description(self) -> str:
        self._join()
        stderr = b"".join(self._stderr_tail).decode("utf-8", "replace")
        return self._redact(executable.describe_exit(self._path, self._process.returncode, stderr))

    def stop(self) -> None:
        """Interrupts the process, and kills it if it is still there after 5 s."""
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
        self._close_stdin()
        self._join()

    def start_readers(self, stdout: Sequence[IO[str]], stderr: Sequence[IO[str]]) -> None:
        """Reads both streams, so that a child that prints much never waits for a reader."""

        def forward(text: str) -> None:
            _write(text, stdout, self._redact)

        for reader in (
            Thread(target=self._reader.follow, args=(self._process.stdout, forward), daemon=True),
            Thread(target=self._copy, args=(self._process.stderr, stderr), daemon=True),
        ):
            reader.start()
            self._readers.append(reader)

    def _has_ended(self) -> bool:
        if self._process.poll() is None:
            return False
        self._close_stdin()
        # A script in place of the executable may have left it running: its output is read to the end, too.
        return not any(reader.is_alive() for reader in self._readers)

    def _close_stdin(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()

    def _copy(self, source: IO[bytes], targets: Sequence[IO[str]]) -> None:
        with source:
            # A very long line is passed on in parts.
            for line in iter(lambda: source.readline(1 << 16), b""):
                self._stderr_tail.append(line)
                _write(line.decode("utf-8", "replace"), targets, self._redact)

    def _join(self) -> None:
        for reader in self._readers:
            reader.join(timeout=STOP_LIMIT_S)


def _write(text: str, targets: Sequence[IO[str]], redact: Callable[[str], str]) -> None:
    for target in targets:
        try:
            target.write(redact(text))
            target.flush()
        except (OSError, ValueError):  # closed, or a full disk: the child must not wait for it
            continue
