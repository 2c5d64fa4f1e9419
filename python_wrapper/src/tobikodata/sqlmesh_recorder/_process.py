"""What goes on in this process: its runs and plans, their evaluations, and the delivery that all share."""

from __future__ import annotations

import os
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ._delivery import Delivery
from ._log import log
from ._recording import Recording
from ._settings import Settings

if TYPE_CHECKING:
    from ._evaluation import Evaluation
    from ._pass import Pass


class Process:
    """What lives as long as the process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.delivery: Delivery | None = None
        self.has_no_settings = False
        self.passes: dict[int, Pass] = {}  # by scheduler: evaluations happen in worker threads


process = Process()
_current: ContextVar[Recording | None] = ContextVar("tobiko_recording", default=None)
_here = threading.local()


def open_recording(kind: str, key: str) -> Recording | None:
    """A new run or plan, or None where nothing is recorded."""
    if process.delivery is None:
        # Not before now: SQLMesh has read the project's .env file on its way here.
        settings = Settings.of(os.environ)
        if settings is None:
            if not process.has_no_settings:
                log.warning("nothing is recorded: TCLOUD_BASE_URL is not set")
            process.has_no_settings = True
            return None
        process.delivery = Delivery(settings)
    process.delivery.wake_for_spool()
    return Recording(kind, key, process.delivery, outer=_current.get())


def enter(recording: Recording) -> None:
    """From now on, until it is left, what happens in this thread is its doing."""
    _current.set(recording)


def leave(recording: Recording) -> None:
    _current.set(recording.outer)


def current_recording() -> Recording | None:
    recording = _current.get()
    return recording if recording is not None and recording.is_mine() else None


def evaluating(evaluation: Evaluation | None) -> None:
    """Says which evaluation goes on in this thread."""
    _here.evaluation = evaluation


def evaluation_here(snapshot: Any) -> Evaluation | None:
    """The evaluation that goes on in this thread, if it is the snapshot's."""
    evaluation: Evaluation | None = getattr(_here, "evaluation", None)
    return evaluation if evaluation is not None and evaluation.batch.snapshot is snapshot else None


def _after_fork_in_child() -> None:
    # SQLMesh loads models in forked processes. The queue, its thread and its locks are the parent's.
    process.delivery = None
    process.passes.clear()
    _here.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
