"""Where the executable of a sync or a mirror runs: the interface between the jobs and a process, here or in a pod."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import IO, Any

from .._events.messages import Event, LogLine, PipesMessage, RunFinished, Unreadable
from .._events.reader import EventQueue
from .._names import EventNames
from . import executable
from .connection import Connection

# How long a process may take to exit once it has reported everything.
EXIT_LIMIT_S = 10.0


class Launched(ABC):
    """A running `tobiko-facade sync` or `mirror`. `finished` is its last message, once received."""

    def __init__(self, queue: EventQueue, log: Any) -> None:
        self._queue = queue
        self._log = log
        self.finished: RunFinished | None = None
        # Applied to all that is reported.
        self.names = EventNames()

    def batches(self, wait_s: float = 0.1) -> Iterator[list[Event]]:
        """Yields what the executable reports until it has ended.

        A batch may be empty: at least one comes every `wait_s` seconds, so that the caller can do other things.
        """
        exit_deadline = float("inf")
        while time.monotonic() < exit_deadline:
            ended = self._has_ended()
            yield self._reported(0 if ended else wait_s)
            if ended:
                return
            if self.finished:
                exit_deadline = min(exit_deadline, time.monotonic() + EXIT_LIMIT_S)

    def incomplete_reason(self) -> str | None:
        """Why not everything was reported; None if it was."""
        if self.finished is None:
            return self.exit_description()
        if self.finished.is_complete:
            return None
        return f"not everything could be reported: {self.finished.reason or 'no reason given'}"

    @abstractmethod
    def exit_description(self) -> str:
        """A sentence on a process that ended without its last message."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the process. May be called again."""

    @abstractmethod
    def _has_ended(self) -> bool:
        """Whether nothing more will be put on the queue."""

    def _reported(self, wait_s: float) -> list[Event]:
        """The events that are for the job; log lines and Dagster's own messages are passed on here."""
        reported: list[Event] = []
        for event in self._queue.take(wait_s):
            if isinstance(event, PipesMessage):
                self._queue.handle(event)
            elif isinstance(event, LogLine):
                self._log.log(event.level, event.text)
            elif isinstance(event, Unreadable):
                self._log.warning(f"a message of {executable.NAME} was not understood: {event.why}")
            else:
                if isinstance(event, RunFinished):
                    self.finished = event
                reported.extend(self.names.translate(event))
        return reported


class Launcher(ABC):
    """Launches the executable under Dagster Pipes, here or elsewhere."""

    @abstractmethod
    def launch(
        self,
        connection: Connection,
        arguments: Sequence[str],
        context: Any,
        *,
        nodes: Sequence[str] | None = None,
        stdout: Sequence[IO[str]] = (),
        stderr: Sequence[IO[str]] = (),
    ) -> AbstractContextManager[Launched]:
        """Runs the executable until the end of the block, however the block ends.

        Args:
            connection: Which cloud, with which credentials.
            arguments: The executable's command line.
            context: That of an op, or of a whole run: where its log lines go.
            nodes: The nodes that the job knows; passed to the executable as an extra of the Pipes context.
            stdout: Streams that get what the executable prints, besides this process's own.
            stderr: The same for its stderr.

        Raises:
            TobikoFacadeError: The executable cannot be found or started.
        """


class SessionContext:
    """The part of a context that a Pipes session uses, from the context of a whole run or of an op.

    It has no assets: for an op with assets or checks, Dagster would otherwise insist on results that pass
    through the session.
    """

    has_assets_def = False
    has_partition_key = False
    retry_number = 0

    def __init__(self, context: Any, log: Any = None) -> None:
        self._context = context
        self.run_id: str = context.run_id
        self.job_name: str = context.job_name
        self.dagster_run = context.dagster_run
        self.log = log or context.log
        # dagster-k8s names the pod after it.
        self.op = SimpleNamespace(name=getattr(getattr(context, "op", None), "name", "mirror"))

    def get_step_execution_context(self) -> Any:
        """Where an exception of the session would be reported: on the step, or on the run."""
        of_step = getattr(self._context, "get_step_execution_context", None)
        return of_step() if of_step else self._context
