"""What the op of a mirror job does: tells its task's truth in Dagster's words, under any executor.

Under the mirror's own executor the truth is handed to it; under another one it asks the executable itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from .._environment import Environment
from .._errors import MirrorBroken
from .._events.events import sift, write_checks, yield_materializations
from .._events.latest import EventLog, reported_by_earlier_attempts
from .._events.messages import Done, Piece, RemoteRun
from .._launch import executable
from .runs import note_remote_run, which_run


@dataclass(frozen=True)
class Verdict:
    """What the executor hands to a step: a piece, or why there is none and never will be."""

    piece: Piece | None
    log: EventLog
    reported: frozenset[tuple[Any, str]]
    broken: str | None = None


# By Dagster run and step. The executor and the ops share a process: what it puts here, the op takes.
handed_over: dict[tuple[str, str], Verdict] = {}


def mirror_op(environment: Environment) -> dg.OpDefinition:
    """The op that all steps of the mirror job run, each under the name of its node."""
    node_of = {node.op: node.name for node in environment.manifest.nodes}

    @dg.op(
        name=f"tobiko_cloud_task_{environment.identifier}",
        description="Reflects the outcome of one task of a Tobiko Cloud run.",
        ins={"upstream": dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
    )
    def task(context):  # type: ignore[no-untyped-def]  # Dagster takes no postponed annotation here
        key = context.get_step_execution_context().step.key
        verdict = handed_over.pop((context.run_id, key), None) or _ask(context, environment, node_of[key])
        if verdict.piece is None:
            raise dg.Failure(verdict.broken, allow_retries=False)
        yield from tell(context, verdict.piece, verdict)
        yield dg.Output(None)  # else Dagster writes a line on every step that it does so itself

    return task


def tell(context: dg.OpExecutionContext, piece: Piece, verdict: Verdict) -> Iterator[dg.AssetMaterialization]:
    """Writes the piece's events and log lines; raises if the task failed."""
    news = sift(piece, verdict.log, verdict.reported)
    if news.remarks:
        context.log.info("; ".join(news.remarks))
    for warning in piece.warnings:
        context.log.warning(warning)
    yield from yield_materializations(news, verdict.log)
    write_checks(news, verdict.log, context)
    if piece.outcome == "failure":
        raise dg.Failure(
            f"{piece.node} failed in Tobiko Cloud: {piece.reason or 'no message'}",
            metadata={
                name: dg.MetadataValue.url(url)
                for name, url in (("Debugger", piece.link), ("Log Link", piece.log_link))
                if url
            },
            allow_retries=False,
        )
    if piece.outcome == "skipped":
        context.log.warning(skipped_text(piece))
    elif piece.outcome == "nothing_due":
        context.log.info(piece.reason or "nothing was due")
    elif piece.link:
        context.log.info(f"View in Tobiko Cloud: {piece.link}")


def skipped_text(piece: Piece) -> str:
    reason = f": {piece.reason}" if piece.reason else ""
    return f"{piece.node} was skipped in Tobiko Cloud{reason}"


def _ask(context: dg.OpExecutionContext, environment: Environment, node: str) -> Verdict:
    """Follows the remote run for this one node. All ops of the Dagster run agree on which run that is."""
    arguments = [
        "mirror",
        *executable.where(environment.name, environment.asset_prefix),
        *which_run(context.instance, context.run),
        f"--node={node}",
    ]
    piece: Piece | None = None
    done: Done | None = None
    with environment.launcher.launch(environment.connection, arguments, context) as launched:
        while not launched.ended:
            for event in launched.events():
                if isinstance(event, RemoteRun):
                    note_remote_run(context.instance, context.run, event.run_id)
                elif isinstance(event, Piece) and event.node == node:
                    piece = _with_later(piece, event) if piece else event
                elif isinstance(event, Done):
                    done = event
        why = launched.without_last_word(done)
    if why or piece is None:
        raise MirrorBroken(why or f"nothing was told of {node}") from None
    reported = reported_by_earlier_attempts(context.instance, context.run)
    return Verdict(piece, EventLog(context.instance, context.run_id), reported)


def _with_later(first: Piece, second: Piece) -> Piece:
    """A batch that came after the verdict adds its events; the verdict stays."""
    return replace(
        first,
        materializations=first.materializations + second.materializations,
        checks=first.checks + second.checks,
        warnings=first.warnings + second.warnings,
    )
