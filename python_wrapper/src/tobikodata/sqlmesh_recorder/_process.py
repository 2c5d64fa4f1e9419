"""What is going on in this process: its runs and plans, the scheduler's passes, the evaluation of each thread."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ._delivery import Delivery
from ._environment import deployability_of, environment_fields, version_of
from ._evaluation import Evaluation
from ._formatting import now
from ._guard import log
from ._recording import Recording
from ._settings import Settings


@dataclass(frozen=True)
class Plan:
    """A plan while SQLMesh's plan evaluator applies it."""

    recording: Recording
    plan: Any
    evaluator: Any

    def find_node(self, name: str) -> tuple[str, str | None]:
        """A node's name and version. The name that the user wrote is not known here."""
        versions = (s.version for s in self.plan.environment.snapshots if s.name == name)
        return name, next((str(version) for version in versions if version), None)

    def put_environment(self) -> None:
        """Records the DAG that the plan has created, from the state connection that this process has anyway."""
        state = self.evaluator.state_sync
        environment = state.get_environment(self.recording.environment)
        if environment is not None and environment.finalized_ts:
            snapshots = state.get_snapshots(environment.snapshots)
            index = deployability_of(environment, snapshots)
            self.recording.put_environment(environment_fields(environment, snapshots.values(), index))


@dataclass(frozen=True)
class SchedulerPass:
    """One call of `run_merged_intervals`: a run makes one, or more if a plan disturbs it; a plan one or two."""

    recording: Recording
    scheduler: Any
    deployability: Any
    audit_only: bool

    def version(self, snapshot: Any) -> str:
        return version_of(snapshot, self.deployability)

    def find_node(self, name: str) -> tuple[str, str | None]:
        """A node's name as the user wrote it, and its version."""
        for snapshot in self.scheduler.snapshots.values():
            if snapshot.name == name:
                return snapshot.node.name, self.version(snapshot)
        return name, None

    def put_environment(self) -> None:
        """Records the DAG at the start of a run: the scheduler has loaded the environment's snapshots already."""
        environment = self.scheduler.state_sync.get_environment(self.recording.environment)
        if environment is not None and environment.finalized_ts:
            snapshots = self.scheduler.snapshots.values()
            self.recording.put_environment(environment_fields(environment, snapshots, self.deployability))


@dataclass
class Operation:
    """A call of one of SQLMesh's own Context: it knows the project, and may fail before anything else is called."""

    kind: str  # "run", "plan" or "other"
    project: Mapping[str, Any]
    environment: str
    started_at: str
    outer: Operation | None
    plan_id: str | None = None
    is_recorded: bool = False  # as a run or plan of its own, or by an operation inside it

    def mark_recorded(self) -> None:
        operation: Operation | None = self
        while operation is not None:
            operation.is_recorded = True
            operation = operation.outer


class Process:
    """What lives as long as the process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.delivery: Delivery | None = None
        self.lacks_settings = False
        self.has_started_operation = False  # a run or plan
        self.is_installed = False
        self.configs: Any = None  # SQLMesh's, by folder, as the command line has loaded them
        self.passes: dict[int, SchedulerPass] = {}  # by the id of the scheduler: evaluations run in worker threads


process = Process()
_recording: ContextVar[Recording | None] = ContextVar("tobiko_recording", default=None)
_operation: ContextVar[Operation | None] = ContextVar("tobiko_operation", default=None)
_this_thread = threading.local()


def open_delivery() -> Delivery | None:
    """This process's delivery, or None where nothing is recorded."""
    if process.delivery is None:
        # Not earlier: SQLMesh has read the project's .env file by now.
        settings = Settings.of(os.environ)
        if settings is None:
            if not process.lacks_settings:
                log.warning("nothing is recorded: TCLOUD_BASE_URL is not set")
            process.lacks_settings = True
            return None
        process.delivery = Delivery(settings)
    return process.delivery


def open_recording(
    kind: str, key: str, project: Mapping[str, Any] | None = None, started_at: str | None = None
) -> Recording | None:
    """A recording of a new run or plan, or None where nothing is recorded.

    `project`: its fields, by default those of the current operation.
    """
    delivery = open_delivery()
    if delivery is None:
        return None
    delivery.wake_for_spool()
    operation = _operation.get()
    if operation is not None:
        operation.mark_recorded()
        project = project or operation.project
    return Recording(kind, key, delivery, project, outer=_recording.get(), started_at=started_at)


def enter_operation(kind: str, project: Mapping[str, Any], environment: str, plan_id: str | None = None) -> Operation:
    operation = Operation(kind, project, environment, now(), _operation.get(), plan_id)
    if kind != "other":
        process.has_started_operation = True
    _operation.set(operation)
    return operation


def leave_operation(operation: Operation) -> None:
    _operation.set(operation.outer)


def current_operation() -> Operation | None:
    return _operation.get()


def enter(recording: Recording) -> None:
    """Attributes what happens in this thread to the recording, until `leave`."""
    _recording.set(recording)


def leave(recording: Recording) -> None:
    _recording.set(recording.outer)


def current_recording() -> Recording | None:
    recording = _recording.get()
    return recording if recording is not None and recording.is_of_this_process() else None


def set_current_evaluation(current: tuple[Recording, Evaluation] | None) -> None:
    """Sets this thread's evaluation."""
    _this_thread.evaluation = current


def current_evaluation(snapshot: Any) -> tuple[Recording, Evaluation] | None:
    """This thread's evaluation, if it is one of that snapshot."""
    current: tuple[Recording, Evaluation] | None = getattr(_this_thread, "evaluation", None)
    return current if current is not None and current[1].batch.snapshot is snapshot else None


def _after_fork_in_child() -> None:
    # SQLMesh loads models in forked processes. The queue, its thread and its locks belong to the parent.
    process.delivery = None
    process.passes.clear()
    _this_thread.__dict__.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
