"""Which of a piece's events are news to Dagster, and how they get into its event log.

Two rules: what is older than what stands there is told in the log, not written; and what stands there
already, or was reported by an earlier attempt of the same run, is not written twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from .. import _internals
from .latest import EventLog, Standing
from .messages import CheckResult, Materialization, Piece


@dataclass(frozen=True)
class News:
    """What of a piece is to be written, and a remark for the log on each event that is not."""

    materializations: tuple[Materialization, ...]
    checks: tuple[CheckResult, ...]
    remarks: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.materializations or self.checks)


def sift(
    piece: Piece,
    log: EventLog,
    reported: frozenset[tuple[Any, str]] = frozenset(),
    again: bool = False,
) -> News:
    """`again`: also what stands there already (never what is older)."""
    log.look(piece)
    remarks: list[str] = []

    def is_news(what: str, event: Materialization | CheckResult, standing: Standing | None) -> bool:
        if event.evaluation_id and (event.key, event.evaluation_id) in reported:
            remarks.append(f"{what} was reported by an earlier attempt of this run")
            return False
        if standing is None:
            return True
        if standing.evaluation_id is not None and standing.evaluation_id == event.evaluation_id:
            same = not isinstance(event, CheckResult) or event.passed == standing.passed
            if same and not again:
                remarks.append(f"{what} is in Dagster already{_by(standing)}")
                return False
        if event.timestamp is None or standing.timestamp is None or event.timestamp >= standing.timestamp:
            return True
        remarks.append(
            f"{what} of {_time(event.timestamp)} is not written: a newer one, of "
            f"{_time(standing.timestamp)}, stands in Dagster{_by(standing)}"
        )
        return False

    return News(
        tuple(
            m
            for m in piece.materializations
            if is_news(f"the materialization of {m.key.to_user_string()}", m, log.asset(m.key))
        ),
        tuple(c for c in piece.checks if is_news(f"the result of check {_check_name(c)}", c, log.check(c.key))),
        tuple(remarks),
    )


def yield_materializations(news: News, log: EventLog) -> Iterator[dg.AssetMaterialization]:
    """For an op to yield."""
    for materialization in news.materializations:
        yield _asset_event(materialization)
        log.wrote_asset(materialization)


def write_checks(news: News, log: EventLog, context: dg.OpExecutionContext) -> None:
    """Puts the results on the op's run and step: 1.9.1 takes no check evaluation that an op yields."""
    for result in news.checks:
        for _ in _write_check(result, log, context.get_step_execution_context()):
            pass


def write_all(news: News, log: EventLog, job_context: _internals.PlanExecutionContext) -> Iterator[dg.DagsterEvent]:
    """Puts all of it on the run, from outside an op."""
    for materialization in news.materializations:
        yield _write(
            dg.DagsterEventType.ASSET_MATERIALIZATION,
            _internals.StepMaterializationData(_asset_event(materialization)),
            job_context,
            f"Materialized {materialization.key.to_user_string()}.",
        )
        log.wrote_asset(materialization)
    for result in news.checks:
        yield from _write_check(result, log, job_context)


def _asset_event(materialization: Materialization) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(materialization.key, metadata=dict(materialization.metadata))


def _write_check(result: CheckResult, log: EventLog, where: Any) -> Iterator[dg.DagsterEvent]:
    if _internals.CHECKS_NEED_PLANNED and not log.is_planned(result.key):
        yield _write(
            dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
            _internals.AssetCheckEvaluationPlanned(asset_key=result.key.asset_key, check_name=result.key.name),
            where,
            f"Tells the result of check {_check_name(result)}.",
        )
    standing = log.asset(result.key.asset_key)
    evaluation = _internals.AssetCheckEvaluation(
        asset_key=result.key.asset_key,
        check_name=result.key.name,
        passed=result.passed,
        metadata=dict(result.metadata),
        severity=result.severity,
        # None for one that this run has just written: Dagster takes a check of the same run for up to date.
        target_materialization_data=standing.materialization if standing else None,
    )
    yield _write(
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        evaluation,
        where,
        f"Check {_check_name(result)} {'passed' if result.passed else 'did not pass'}.",
    )
    log.wrote_check(result)


def _write(kind: dg.DagsterEventType, data: Any, where: Any, message: str) -> dg.DagsterEvent:
    if isinstance(where, _internals.StepExecutionContext):
        return dg.DagsterEvent.from_step(kind, where, event_specific_data=data, message=message)
    return dg.DagsterEvent.from_job(kind, where, event_specific_data=data, message=message)


def _check_name(result: CheckResult) -> str:
    return f"{result.key.name} on {result.key.asset_key.to_user_string()}"


def _by(standing: Standing) -> str:
    return f" (run {standing.run_id})" if standing.run_id else ""


def _time(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
