"""Which events of a task result are new to Dagster, and how they get into its event log.

Two rules: an older result never replaces a newer one, it is only mentioned in the log; and what Dagster already has,
or what an earlier attempt of the same run reported, is not written twice.

Since Dagster 1.10.14, an event carries the time of the evaluation, however much later it is written. An older Dagster
takes no time: there, events are of the time at which they are written.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from .. import _internals
from .latest import EventLog, LatestEvent
from .messages import CheckResult, Materialization, TaskResult


@dataclass(frozen=True)
class NewEvents:
    """The events of a task result that are to be written, and for each of the others the reason why not."""

    materializations: tuple[Materialization, ...]
    checks: tuple[CheckResult, ...]
    skip_reasons: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.materializations or self.checks)


def filter_new(
    result: TaskResult,
    log: EventLog,
    reported: frozenset[tuple[Any, str]] = frozenset(),
    include_existing: bool = False,
) -> NewEvents:
    """Compares a task result with Dagster's event log.

    Args:
        result: What was reported of the task.
        log: The latest events of the instance.
        reported: (key, evaluation id) of everything that earlier attempts of the same run have written.
        include_existing: Write again what Dagster already has. What is older than that is never written.
    """
    log.refresh(result)
    skip_reasons: list[str] = []

    def is_new(what: str, event: Materialization | CheckResult, latest: LatestEvent | None) -> bool:
        if event.evaluation_id and (event.key, event.evaluation_id) in reported:
            skip_reasons.append(f"{what} was reported by an earlier attempt of this run")
            return False
        if latest is None:
            return True
        if latest.evaluation_id is not None and latest.evaluation_id == event.evaluation_id:
            same = not isinstance(event, CheckResult) or event.passed == latest.passed
            if same and not include_existing:
                skip_reasons.append(f"{what} is already in Dagster{_by(latest)}")
                return False
        if event.timestamp is None or latest.timestamp is None or event.timestamp >= latest.timestamp:
            return True
        skip_reasons.append(
            f"{what} of {_time(event.timestamp)} is not written: Dagster has a newer one, of "
            f"{_time(latest.timestamp)}{_by(latest)}"
        )
        return False

    return NewEvents(
        tuple(
            m
            for m in result.materializations
            if is_new(f"the materialization of {m.key.to_user_string()}", m, log.asset(m.key))
        ),
        tuple(c for c in result.checks if is_new(f"the result of check {_check_name(c)}", c, log.check(c.key))),
        tuple(skip_reasons),
    )


def write_from_op(new: NewEvents, log: EventLog, context: dg.OpExecutionContext) -> Iterator[dg.AssetMaterialization]:
    """Writes all of it to the op's run and step. What it yields, the op must yield: where events take no times."""
    step_context = context.get_step_execution_context()
    for materialization in new.materializations:
        if _internals.EVENTS_HAVE_TIMES:
            _write_materialization(materialization, log, step_context)
        else:
            yield _asset_event(materialization)
            log.wrote_asset(materialization)
    for result in new.checks:
        for _ in _write_check(result, log, step_context):  # 1.9.1 takes no check evaluation that an op yields
            pass


def write_all(new: NewEvents, log: EventLog, job_context: _internals.PlanExecutionContext) -> Iterator[dg.DagsterEvent]:
    """Writes all of it to the run, from outside an op."""
    for materialization in new.materializations:
        yield _write_materialization(materialization, log, job_context)
    for result in new.checks:
        yield from _write_check(result, log, job_context)


def _write_materialization(materialization: Materialization, log: EventLog, where: Any) -> dg.DagsterEvent:
    event = _write(
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        _internals.StepMaterializationData(_asset_event(materialization)),
        where,
        f"Materialized {materialization.key.to_user_string()}.",
        # Dagster hides what happened before the asset was wiped: such a materialization is one of now.
        _time_of(materialization, not_before=log.wiped_at(materialization.key)),
    )
    log.wrote_asset(materialization)
    return event


def _asset_event(materialization: Materialization) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(materialization.key, metadata=dict(materialization.metadata))


def _write_check(result: CheckResult, log: EventLog, where: Any) -> Iterator[dg.DagsterEvent]:
    if _internals.CHECKS_NEED_PLANNED and not log.is_planned(result.key):
        yield _write(
            dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
            _internals.AssetCheckEvaluationPlanned(asset_key=result.key.asset_key, check_name=result.key.name),
            where,
            f"Reports the result of check {_check_name(result)}.",
        )
    latest = log.asset(result.key.asset_key)
    evaluation = _internals.AssetCheckEvaluation(
        asset_key=result.key.asset_key,
        check_name=result.key.name,
        passed=result.passed,
        metadata=dict(result.metadata),
        severity=result.severity,
        # None if this run has just written it: Dagster considers a check of the same run up to date.
        target_materialization_data=latest.materialization if latest else None,
    )
    yield _write(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        evaluation,
        where,
        f"Check {_check_name(result)} {'passed' if result.passed else 'did not pass'}.",
        _time_of(result),
    )
    log.wrote_check(result)


def _time_of(event: Materialization | CheckResult, not_before: float | None = None) -> float:
    """The event's time in epoch seconds: the evaluation's, if that is known, is past, and is later than `not_before`.

    Else it is the present: the cloud's clock may be ahead, and an asset of the future would be fresh for too long.
    """
    now = time.time()
    at = event.timestamp
    return at if at is not None and max(not_before or 0.0, 0.0) < at < now else now


def _write(
    kind: dg.DagsterEventType, data: Any, where: Any, message: str, timestamp: float | None = None
) -> dg.DagsterEvent:
    """Writes one event to a run, or to its step. `timestamp` is in epoch seconds; without one it happens now."""
    if timestamp is not None and _internals.EVENTS_HAVE_TIMES:
        event = _event(kind, data, where, message)
        where.instance.report_dagster_event(event, where.run_id, log_level=logging.DEBUG, timestamp=timestamp)
        return event
    if isinstance(where, _internals.StepExecutionContext):
        return dg.DagsterEvent.from_step(kind, where, event_specific_data=data, message=message)
    return dg.DagsterEvent.from_job(kind, where, event_specific_data=data, message=message)


def _event(kind: dg.DagsterEventType, data: Any, where: Any, message: str) -> dg.DagsterEvent:
    """As `DagsterEvent.from_step` and `from_job` make it; they also write it, as an event of now."""
    common: dict[str, Any] = {
        "event_type_value": kind.value,
        "job_name": where.job_name,
        "event_specific_data": data,
        "message": message,
        "pid": os.getpid(),
    }
    if not isinstance(where, _internals.StepExecutionContext):
        return dg.DagsterEvent(**common)
    return dg.DagsterEvent(
        **common,
        step_handle=where.step.handle,
        node_handle=where.step.node_handle,
        step_kind_value=where.step.kind.value,
        logging_tags=where.event_tags,
    )


def _check_name(result: CheckResult) -> str:
    return f"{result.key.name} on {result.key.asset_key.to_user_string()}"


def _by(latest: LatestEvent) -> str:
    return f" (run {latest.run_id})" if latest.run_id else ""


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
