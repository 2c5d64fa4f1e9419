"""One run of the mirror job: from what is heard of the remote run to the steps of the Dagster run.

A step is started when its remote task has started, and gets its end when the task's verdict comes, once its
upstream steps have ended in Dagster too. Dagster's own event sequence of a step does both: its first event is
the start, the rest runs the op, which tells the verdict that is handed to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from .. import _internals
from .._environment import MIRROR_COMPLETE, MIRROR_TAG, Environment
from .._errors import MirrorBroken, RemoteRunFailed
from .._events.events import News, sift, write_all
from .._events.latest import EventLog, reported_by_earlier_attempts
from .._events.messages import Done, Event, Piece, RemoteRun, TaskStarted
from .runs import note_remote_run
from .task import Verdict, handed_over, skipped_text

Events = Iterator[dg.DagsterEvent]


class _Started:
    """A step that has started: its context, and the rest of its events."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.sequence = _internals.dagster_event_sequence_for_step(context)
        self.told: list[dg.DagsterEvent] = []


class Mirror:
    def __init__(
        self,
        environment: Environment,
        job_context: _internals.PlanExecutionContext,
        plan: _internals.ExecutionPlan,
        active: _internals.ActiveExecution,
    ) -> None:
        self._environment = environment
        self._job_context = job_context
        self._active = active
        self._run = job_context.dagster_run
        self._instance = job_context.instance
        self._log = EventLog(self._instance, self._run.run_id)
        self._reported = reported_by_earlier_attempts(self._instance, self._run)
        selected = set(plan.step_keys_to_execute)
        self._step_of = {n: op for n, op in environment.manifest.op_of.items() if op in selected}
        self._node_of = {op: node for node, op in self._step_of.items()}
        self._downstream = _inverted(plan.get_executable_step_deps())
        # A step is pending (in none of these), then ready, then started, then over; or it will never be
        # executed, since one upstream of it failed or was skipped.
        self._ready: dict[str, _internals.ExecutionStep] = {}
        self._started: dict[str, _Started] = {}
        self._over: set[str] = set()
        self._never: set[str] = set()
        # What the cloud has said of steps that may not start, or end, yet.
        self._begun: set[str] = set()
        self._verdicts: dict[str, Piece] = {}
        self._one_failed = False
        self._remote_run_id: str | None = None
        self.done: Done | None = None

    @property
    def steps(self) -> list[str]:
        return list(self._node_of)

    def expect(self, events: Iterable[Event]) -> None:
        """What is heard next."""
        self._log.expect(event for event in events if isinstance(event, Piece))

    def hear(self, event: Event) -> Events:
        if isinstance(event, RemoteRun):
            self._remote_run_id = event.run_id
            note_remote_run(self._instance, self._run, event.run_id)
            self._job_context.log.info(
                f"Mirroring run {event.run_id} of environment {self._environment.name}: {event.link}"
            )
        elif isinstance(event, TaskStarted):
            if event.node in self._step_of:
                self._begun.add(self._step_of[event.node])
                yield from self._advance()
        elif isinstance(event, Piece):
            yield from self._take(event)
        elif isinstance(event, Done):
            self.done = event
            self._job_context.log.info(
                f"Remote run {event.run_id}: {event.outcome}. Told of {event.tasks} tasks with "
                f"{event.requests} requests to Tobiko Cloud."
            )

    def close(self, why_not_all: str | None) -> Events:
        """Nothing more will be heard. `why_not_all`: why not all was told, if so."""
        done = self.done
        if done is None or not done.told_all:
            why = why_not_all or "no reason given"
            yield from self._fail_open_steps(why)
            raise MirrorBroken(
                f"the mirror of remote run {self._remote_run_id or '(not found)'} broke off, so this Dagster "
                f"run does not show all of it: {why}"
            )
        yield from self._settle_the_rest(done)
        self._instance.add_run_tags(self._run.run_id, {MIRROR_TAG: MIRROR_COMPLETE})
        if done.outcome == "failure" and not self._one_failed:
            link = f" View in Tobiko Cloud: {done.link}" if done.link else ""
            raise RemoteRunFailed(
                f"remote run {done.run_id} failed: {done.reason or 'no message'}. Each task that this job "
                f"knows went well or was skipped, so there is no step to re-execute.{link}"
            )

    def is_cancelled(self) -> bool:
        return self._active.check_for_interrupts()

    def cancel(self) -> Events:
        yield from self._fail_open_steps("cancelled in Dagster; the remote run goes on untouched")
        self._active.mark_interrupted()
        raise dg.DagsterExecutionInterruptedError("cancelled")

    def _take(self, piece: Piece) -> Events:
        key = self._step_of.get(piece.node)
        if key is None and piece.node in self._environment.manifest.op_of:
            yield from self._tell_on_run(piece, "its step is not part of this run")
        elif key is None:
            yield from self._tell_on_run(piece, "this job does not know it: reload the code location")
        elif key in self._over or key in self._verdicts:
            yield from self._tell_on_run(piece, "its step had its verdict before")
        elif key in self._never:
            yield from self._tell_unexecuted(piece)
        else:
            self._verdicts[key] = piece
            yield from self._advance()

    def _advance(self) -> Events:
        """Starts and ends all steps that may be. An end may make others ready."""
        ended = True
        while ended:
            ended = False
            for step in self._active.get_steps_to_execute():
                self._ready[step.key] = step
            for key in [*self._started, *self._ready]:
                if key in self._verdicts:
                    yield from self._end(key, self._verdicts.pop(key))
                    ended = True
                elif key in self._ready and key in self._begun:
                    yield from self._start(key)

    def _start(self, key: str) -> Events:
        context = self._job_context.for_step(self._ready.pop(key), self._active.get_known_state())
        step = self._started[key] = _Started(context)
        yield from self._pass_on(step, next(step.sequence))

    def _end(self, key: str, piece: Piece) -> Events:
        if piece.outcome == "skipped" and key in self._ready:
            yield from self._skip(key, piece)
        else:
            yield from self._finish(key, Verdict(piece, self._log, self._reported))

    def _finish(self, key: str, verdict: Verdict) -> Events:
        if key in self._ready:
            yield from self._start(key)
        step = self._started.pop(key)
        handed_over[self._run.run_id, key] = verdict
        for event in step.sequence:
            yield from self._pass_on(step, event)
        handed_over.pop((self._run.run_id, key), None)
        self._over.add(key)
        if any(event.is_step_failure for event in step.told):
            self._one_failed = True
            yield from self._give_up_downstream(key)
        self._active.verify_complete(self._job_context, key)
        yield from self._skip_and_abandon()
        yield from _internals.trigger_hooks(step.context, step.told)

    def _pass_on(self, step: _Started, event: dg.DagsterEvent) -> Events:
        step.told.append(event)
        yield event
        self._active.handle_event(event)

    def _skip(self, key: str, piece: Piece) -> Events:
        context: Any = self._job_context.for_step(self._ready.pop(key), self._active.get_known_state())
        context.log.warning(skipped_text(piece))
        yield dg.DagsterEvent.step_skipped_event(context)
        self._active.mark_skipped(key)
        self._over.add(key)
        yield from self._skip_and_abandon()

    def _skip_and_abandon(self) -> Events:
        """What Dagster does with the steps below one that was skipped, or failed."""
        for event in self._active.plan_events_iterator(self._job_context):
            yield event
            if event.is_step_skipped and event.step_key:
                yield from self._will_never_be_executed(event.step_key)

    def _give_up_downstream(self, key: str) -> Events:
        for below in self._downstream.get(key, ()):
            if below not in self._never:
                yield from self._will_never_be_executed(below)
                yield from self._give_up_downstream(below)

    def _will_never_be_executed(self, key: str) -> Events:
        self._never.add(key)
        piece = self._verdicts.pop(key, None)
        if piece:
            yield from self._tell_unexecuted(piece)

    def _tell_unexecuted(self, piece: Piece) -> Events:
        yield from self._tell_on_run(piece, "its step is not executed, since one upstream of it failed")

    def _tell_on_run(self, piece: Piece, why: str) -> Events:
        """What the cloud evaluated is never lost because no step of this run can tell it."""
        news = sift(piece, self._log, self._reported)
        self._warn_of(piece, news, why)
        yield from write_all(news, self._log, self._job_context)

    def _warn_of(self, piece: Piece, news: News, why: str) -> None:
        is_failure = piece.outcome == "failure" and piece.node not in self._environment.manifest.op_of
        if not (news or piece.late or is_failure):
            return
        reason = f" ({piece.reason})" if piece.reason else ""
        link = f" View in Tobiko Cloud: {piece.link}" if piece.link else ""
        self._job_context.log.warning(f"{piece.node}: {piece.outcome}{reason}, told on the run, since {why}.{link}")
        for text in (*piece.warnings, *news.remarks):
            self._job_context.log.warning(text)

    def _settle_the_rest(self, done: Done) -> Events:
        """Steps of whose nodes nothing was told end as the remote run did."""
        yield from self._advance()
        while self._started or self._ready:
            for key in [*self._started, *self._ready]:
                yield from self._end(key, _without_a_word(self._node_of[key], done))
            yield from self._advance()

    def _fail_open_steps(self, why: str) -> Events:
        for key in list(self._started):
            yield from self._finish(key, Verdict(None, self._log, self._reported, broken=why))


def _without_a_word(node: str, done: Done) -> Piece:
    if done.outcome == "failure":
        return Piece(node, "skipped", "the remote run ended without a word on it")
    return Piece(node, "success", warnings=("the remote run ended well without a word on this task",))


def _inverted(dependencies: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """From each step's upstream to each step's downstream."""
    downstream: dict[str, list[str]] = {}
    for key, upstream in dependencies.items():
        for above in upstream:
            downstream.setdefault(above, []).append(key)
    return downstream
