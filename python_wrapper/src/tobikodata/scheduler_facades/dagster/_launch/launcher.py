"""Where the executable of a sync or a mirror runs: the seam between the jobs and a process, here or in a pod."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import IO, Any

from .._events.messages import Done, Event, Said, Standard, Unreadable
from .._events.reader import EventQueue
from . import executable
from .connection import Connection


class Launched(ABC):
    """A running `tobiko-facade sync` or `mirror`."""

    def __init__(self, queue: EventQueue, log: Any) -> None:
        self._queue = queue
        self._log = log
        self.ended = False

    def events(self, wait_s: float = 0.1) -> list[Event]:
        """What has been told since the last call. Sets `ended` when the process is over and all is told."""
        over = self._is_over()
        events = self._queue.take(0 if over else wait_s)
        self.ended = over
        rest: list[Event] = []
        for event in events:
            if isinstance(event, Standard):
                self._queue.handle(event)
            elif isinstance(event, Said):
                self._log.log(event.level, event.text)
            elif isinstance(event, Unreadable):
                self._log.warning(f"a message of {executable.NAME} was not understood: {event.why}")
            else:
                rest.append(event)
        return rest

    def without_last_word(self, done: Done | None) -> str | None:
        """Why not all was told; None if all was."""
        if done is None:
            return self.how_it_ended()
        return None if done.told_all else f"not all could be told: {done.reason or 'no reason given'}"

    @abstractmethod
    def how_it_ended(self) -> str:
        """A sentence on a process that ended without its last word."""

    @abstractmethod
    def stop(self) -> None:
        """Ends the process. May be called again."""

    @abstractmethod
    def _is_over(self) -> bool:
        """Whether nothing more will be put on the queue."""


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
        """Runs the executable for the length of the block; whatever ends the block ends it too.

        `context` is that of an op, or of a whole run: where its log lines go. `stdout` and `stderr` get what the
        executable prints, besides this process's own.
        """


class SessionContext:
    """What a Pipes session asks of a context, of a whole run's or an op's.

    It knows no assets: for an op with assets or checks, Dagster would else insist on results that pass
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
        # dagster-k8s calls the pod after it.
        self.op = SimpleNamespace(name=getattr(getattr(context, "op", None), "name", "mirror"))

    def get_step_execution_context(self) -> Any:
        """Where an exception of the session would be told: on the step, or on the run."""
        of_step = getattr(self._context, "get_step_execution_context", None)
        return of_step() if of_step else self._context
