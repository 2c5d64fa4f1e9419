"""The op of a mirror job: reports the outcome of its task to Dagster, under any executor.

The mirror's own executor hands the verdict to the op; under any other executor the op launches the executable itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from .._environment import Environment
from .._errors import MirrorBroken
from .._events.events import filter_new, write_from_op
from .._events.latest import EventLog, reported_by_earlier_attempts
from .._events.messages import RemoteRun, TaskResult, TaskStarted
from .._launch import executable
from .announcements import Announcements
from .runs import note_remote_run, which_run
from .turn import wait_for_turn

_ATTRIBUTE = "_tobiko_verdict"


@dataclass(frozen=True)
class Verdict:
    """What a step reports: the result of its task, or why there is none and never will be."""

    result: TaskResult | None
    log: EventLog
    reported: frozenset[tuple[Any, str]]
    announcements: Announcements
    incomplete: str | None = None

    def hand_over(self, step_context: Any) -> None:
        """Puts it on the context of the step, which Dagster passes from the executor to the op."""
        setattr(step_context, _ATTRIBUTE, self)

    @staticmethod
    def handed_over(step_context: Any) -> Verdict | None:
        """The verdict that the executor put there; None under another executor."""
        return getattr(step_context, _ATTRIBUTE, None)


def mirror_op(environment: Environment) -> dg.OpDefinition:
    """The op that all steps of the mirror job run, each under the name of its node."""
    node_of = {node.op: node.name for node in environment.manifest.nodes}

    @dg.op(
        name=f"tobiko_cloud_task_{environment.identifier}",
        description=f"Reflects the outcome of one task of a {environment.manifest.cloud} run.",
        ins={"upstream": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
    )
    def task(context):  # type: ignore[no-untyped-def]  # Dagster takes no postponed annotation here
        step_context = context.get_step_execution_context()
        verdict = Verdict.handed_over(step_context) or _fetch(context, environment, node_of[step_context.step.key])
        if verdict.result is None:
            raise dg.Failure(verdict.incomplete, allow_retries=False)
        yield from _report(context, environment.manifest.cloud, verdict.result, verdict)
        yield dg.Output(None)  # otherwise Dagster logs on every step that it does so itself

    return task


def skipped_text(result: TaskResult, cloud: str) -> str:
    """The log line on a task that was skipped."""
    reason = f": {result.reason}" if result.reason else ""
    return f"{result.node} was skipped in {cloud}{reason}"


def _report(
    context: dg.OpExecutionContext, cloud: str, result: TaskResult, verdict: Verdict
) -> Iterator[dg.AssetMaterialization]:
    """Writes the result's events and log lines; raises if the task failed."""
    new = filter_new(result, verdict.log, verdict.reported)
    if new.skip_reasons:
        context.log.info("; ".join(new.skip_reasons))
    for warning in result.warnings:
        context.log.warning(warning)
    verdict.announcements.settle(result, new)
    yield from write_from_op(new, verdict.log, context)
    verdict.announcements.written()
    if result.outcome == "failure":
        raise dg.Failure(
            f"{result.node} failed in {cloud}: {result.reason or 'no message'}",
            metadata={
                name: dg.MetadataValue.url(url)
                for name, url in (("Debugger", result.link), ("Log Link", result.log_link))
                if url
            },
            allow_retries=False,
        )
    if result.outcome == "skipped":
        context.log.warning(skipped_text(result, cloud))
    elif result.outcome == "nothing_due":
        context.log.info(result.reason or "nothing was due")
    elif result.link:
        context.log.info(f"View in {cloud}: {result.link}")


def _fetch(context: dg.OpExecutionContext, environment: Environment, node: str) -> Verdict:
    """Follows the remote run for this one node. All ops of the Dagster run agree on which run that is."""
    # Under this executor, a run that failed need not have stopped before completion.
    for _ in wait_for_turn(context.instance, context.run, context.log, after_any_end=True):
        pass
    arguments = [
        "mirror",
        *executable.where(environment.name, environment.asset_prefix),
        *which_run(context.instance, context.run),
        f"--node={node}",
    ]
    log = EventLog(context.instance, context.run_id)
    announcements = Announcements(environment, context.instance, context.run, log)
    result: TaskResult | None = None
    try:
        with environment.launch(arguments, context) as launched:
            for event in (event for events in launched.batches() for event in events):
                if isinstance(event, RemoteRun):
                    note_remote_run(context.instance, context.run, event.run_id)
                    announcements.follow(event)
                elif isinstance(event, TaskStarted) and event.node == node:
                    announcements.start(event)
                elif isinstance(event, TaskResult) and event.node == node:
                    result = _merged(result, event) if result else event
            reason = launched.incomplete_reason()
        if reason or result is None:
            raise MirrorBroken(reason or f"nothing was reported of {node}") from None
    except BaseException:  # an interruption, too
        announcements.hand_back_open()
        raise
    reported = reported_by_earlier_attempts(context.instance, context.run)
    return Verdict(result, log, reported, announcements)


def _merged(first: TaskResult, later: TaskResult) -> TaskResult:
    """A batch that ended after the verdict adds its events; the verdict does not change."""
    return replace(
        first,
        materializations=first.materializations + later.materializations,
        checks=first.checks + later.checks,
        warnings=first.warnings + later.warnings,
    )
