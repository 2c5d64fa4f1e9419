"""One run of the mirror job: from what is reported of the remote run to the steps of the Dagster run.

A step starts when its remote task has started, and ends when the task's verdict arrives and its upstream steps have
ended in Dagster, too. Dagster's own event sequence of a step does both: its first event is the start, the rest runs
the op, which reports the verdict that is handed to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from .. import _internals
from .._environment import MIRROR_COMPLETE, MIRROR_TAG, Environment
from .._errors import MirrorBroken, RemoteRunFailed
from .._events.events import NewEvents, filter_new, write_all
from .._events.latest import EventLog, reported_by_earlier_attempts
from .._events.messages import Event, RemoteRun, RunFinished, TaskResult, TaskStarted
from .announcements import Announcements, hand_back_for_interrupted
from .runs import note_remote_run
from .task import Verdict, skipped_text

Events = Iterator[dg.DagsterEvent]


class _Started:
    """A step that has started: its context, and the rest of its events."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.sequence = _internals.dagster_event_sequence_for_step(context)
        self.events: list[dg.DagsterEvent] = []


class Mirror:
    """The state of one mirror: which steps are ready, started and finished, and which verdicts wait."""

    def __init__(
        self,
        environment: Environment,
        job_context: _internals.PlanExecutionContext,
        plan: _internals.ExecutionPlan,
        active: _internals.ActiveExecution,
    ) -> None:
        self._environment = environment
        self._cloud = environment.manifest.cloud
        self._job_context = job_context
        self._active = active
        self._run = job_context.dagster_run
        self._instance = job_context.instance
        self._log = EventLog(self._instance, self._run.run_id)
        self._reported = reported_by_earlier_attempts(self._instance, self._run)
        hand_back_for_interrupted(self._instance)
        self._announcements = Announcements(environment, self._instance, self._run, self._log)
        selected = set(plan.step_keys_to_execute)
        self._step_of = {n: op for n, op in environment.manifest.op_of.items() if op in selected}
        self._node_of = {op: node for node, op in self._step_of.items()}
        self._downstream = _inverted(plan.get_executable_step_deps())
        # A step is pending (in none of these), then ready, then started, then finished; or unreachable, since one
        # upstream of it failed or was skipped.
        self._ready: dict[str, _internals.ExecutionStep] = {}
        self._started: dict[str, _Started] = {}
        self._finished: set[str] = set()
        self._unreachable: set[str] = set()
        # What the cloud has reported of steps that cannot start, or end, yet.
        self._remote_started: set[str] = set()
        self._verdicts: dict[str, TaskResult] = {}
        self._failed_nodes: list[str] = []
        # Failures that are on no step of this run: "node (reason)".
        self._failures_without_step: list[str] = []
        self._remote_run_id: str | None = None
        self._run_finished: RunFinished | None = None

    @property
    def steps(self) -> list[str]:
        return list(self._node_of)

    def prefetch(self, events: Iterable[Event]) -> None:
        """Reads ahead for the events that are handled next."""
        self._log.prefetch(event for event in events if isinstance(event, TaskResult))

    def handle(self, event: Event) -> Events:
        if isinstance(event, RemoteRun):
            self._remote_run_id = event.run_id
            note_remote_run(self._instance, self._run, event.run_id)
            self._announcements.follow(event)
            self._job_context.log.info(
                f"Mirroring run {event.run_id} of environment {self._environment.name}: {event.link}"
            )
        elif isinstance(event, TaskStarted):
            self._announcements.start(event)
            if event.node in self._step_of:
                self._remote_started.add(self._step_of[event.node])
                yield from self._advance()
        elif isinstance(event, TaskResult):
            yield from self._take(event)
        elif isinstance(event, RunFinished):
            self._run_finished = event
            if event.is_complete:
                self._job_context.log.info(
                    f"Remote run {event.run_id}: {event.outcome}. {event.tasks} tasks were reported with "
                    f"{event.requests} requests to {self._cloud}."
                )

    def close(self, incomplete_reason: str | None) -> Events:
        """Ends the steps that are still open, after the last event.

        Raises:
            MirrorBroken: Not everything was reported, for this reason.
            RemoteRunFailed: The remote run failed and no step shows it.
        """
        done = self._run_finished
        if done is None or not done.is_complete:
            reason = incomplete_reason or "no reason given"
            self._announcements.close(self._verdicts.values())
            yield from self._fail_open_steps(reason)
            if self._remote_run_id is None:
                raise MirrorBroken(f"no remote run was mirrored: {reason}")
            raise MirrorBroken(
                f"the mirror of remote run {self._remote_run_id} was interrupted, so this Dagster run does not show "
                f"all of it: {reason}"
            )
        yield from self._finish_unreported(done)
        self._announcements.close(self._verdicts.values())
        self._instance.add_run_tags(self._run.run_id, {MIRROR_TAG: MIRROR_COMPLETE})
        if done.outcome == "failure" and (self._failures_without_step or not self._failed_nodes):
            raise RemoteRunFailed(self._failure_text(done))

    def _failure_text(self, done: RunFinished) -> str:
        text = f"remote run {done.run_id} failed: {done.reason or 'no message'}."
        if self._failures_without_step:
            text += f" No step of this Dagster run shows these failures: {', '.join(self._failures_without_step)}."
        if self._failed_nodes:
            text += f" These tasks failed, too: {', '.join(self._failed_nodes)}."
        if not self._failures_without_step:
            text += " Every task that this job knows succeeded or was skipped, so there is no step to re-execute."
        return text + (f" View in {self._cloud}: {done.link}" if done.link else "")

    def is_cancelled(self) -> bool:
        return self._active.check_for_interrupts()

    def cancel(self) -> Events:
        self._announcements.close(self._verdicts.values())
        yield from self._fail_open_steps("cancelled in Dagster; the remote run continues untouched")
        self._active.mark_interrupted()
        raise dg.DagsterExecutionInterruptedError("cancelled")

    def _take(self, result: TaskResult) -> Events:
        key = self._step_of.get(result.node)
        if key is None and result.node in self._environment.manifest.op_of:
            yield from self._report_on_run(result, "its step is not part of this run")
        elif key is None:
            yield from self._report_on_run(result, "this job does not know it: reload the code location")
        elif key in self._finished or key in self._verdicts:
            yield from self._report_on_run(result, "its step has already finished")
        elif key in self._unreachable:
            yield from self._report_unexecuted(result)
        else:
            self._verdicts[key] = result
            yield from self._advance()

    def _advance(self) -> Events:
        """Starts and ends every step that can be. An end may make others ready."""
        ended = True
        while ended:
            ended = False
            for step in self._active.get_steps_to_execute():
                self._ready[step.key] = step
            for key in [*self._started, *self._ready]:
                if key in self._verdicts:
                    yield from self._end(key, self._verdicts.pop(key))
                    ended = True
                elif key in self._ready and key in self._remote_started:
                    yield from self._start(key)

    def _start(self, key: str) -> Events:
        context = self._job_context.for_step(self._ready.pop(key), self._active.get_known_state())
        step = self._started[key] = _Started(context)
        yield from self._pass_on(step, next(step.sequence))

    def _end(self, key: str, result: TaskResult) -> Events:
        if result.outcome == "skipped" and key in self._ready:
            yield from self._skip(key, result)
        else:
            yield from self._finish(key, Verdict(result, self._log, self._reported, self._announcements))

    def _finish(self, key: str, verdict: Verdict) -> Events:
        if key in self._ready:
            yield from self._start(key)
        step = self._started.pop(key)
        verdict.hand_over(step.context)
        for event in step.sequence:
            yield from self._pass_on(step, event)
        self._finished.add(key)
        if any(event.is_step_failure for event in step.events):
            self._failed_nodes.append(self._node_of[key])
            yield from self._mark_downstream_unreachable(key)
        self._active.verify_complete(self._job_context, key)
        yield from self._skip_and_abandon()
        yield from _internals.trigger_hooks(step.context, step.events)

    def _pass_on(self, step: _Started, event: dg.DagsterEvent) -> Events:
        step.events.append(event)
        yield event
        self._active.handle_event(event)

    def _skip(self, key: str, result: TaskResult) -> Events:
        context: Any = self._job_context.for_step(self._ready.pop(key), self._active.get_known_state())
        context.log.warning(skipped_text(result, self._cloud))
        yield dg.DagsterEvent.step_skipped_event(context)
        self._active.mark_skipped(key)
        self._finished.add(key)
        yield from self._skip_and_abandon()

    def _skip_and_abandon(self) -> Events:
        """Lets Dagster skip or abandon the steps below one that was skipped or failed."""
        for event in self._active.plan_events_iterator(self._job_context):
            yield event
            if event.is_step_skipped and event.step_key:
                yield from self._mark_unreachable(event.step_key)

    def _mark_downstream_unreachable(self, key: str) -> Events:
        for below in self._downstream.get(key, ()):
            if below not in self._unreachable:
                yield from self._mark_unreachable(below)
                yield from self._mark_downstream_unreachable(below)

    def _mark_unreachable(self, key: str) -> Events:
        self._unreachable.add(key)
        result = self._verdicts.pop(key, None)
        if result:
            yield from self._report_unexecuted(result)

    def _report_unexecuted(self, result: TaskResult) -> Events:
        yield from self._report_on_run(result, "its step is not executed, since one upstream of it failed")

    def _report_on_run(self, result: TaskResult, why: str) -> Events:
        """Writes to the run what no step of it can report: no evaluation is lost."""
        new = filter_new(result, self._log, self._reported)
        if result.outcome == "failure":
            self._failures_without_step.append(f"{result.node} ({result.reason or 'no message'})")
        self._warn_about(result, new, why)
        self._announcements.settle(result, new)
        yield from write_all(new, self._log, self._job_context)
        self._announcements.written()

    def _warn_about(self, result: TaskResult, new: NewEvents, why: str) -> None:
        is_failure = result.outcome == "failure" and result.node not in self._environment.manifest.op_of
        if not (new or result.late or is_failure):
            return
        reason = f" ({result.reason})" if result.reason else ""
        link = f" View in {self._cloud}: {result.link}" if result.link else ""
        self._job_context.log.warning(
            f"{result.node}: {result.outcome}{reason}, reported on the run, since {why}.{link}"
        )
        for text in (*result.warnings, *new.skip_reasons):
            self._job_context.log.warning(text)

    def _finish_unreported(self, done: RunFinished) -> Events:
        """Steps of nodes of which nothing was reported end as the remote run did."""
        yield from self._advance()
        while self._started or self._ready:
            for key in [*self._started, *self._ready]:
                yield from self._end(key, _unreported(self._node_of[key], done))
            yield from self._advance()

    def _fail_open_steps(self, why: str) -> Events:
        for key in list(self._started):
            verdict = Verdict(None, self._log, self._reported, self._announcements, incomplete=why)
            yield from self._finish(key, verdict)


def _unreported(node: str, done: RunFinished) -> TaskResult:
    if done.outcome == "failure":
        return TaskResult(node, "skipped", "the remote run ended without a result for this task")
    return TaskResult(node, "success", warnings=("the remote run succeeded without a result for this task",))


def _inverted(dependencies: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """From the upstream of each step to the downstream of each step."""
    downstream: dict[str, list[str]] = {}
    for key, upstream in dependencies.items():
        for above in upstream:
            downstream.setdefault(above, []).append(key)
    return downstream
