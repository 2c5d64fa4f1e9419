"""The runs in Dagster that a tick depends on, and nothing of what they mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import dagster as dg

from .._environment import MIRROR_COMPLETE, MIRROR_TAG, RUN_ID_TAG, RUN_KEY_TAG, Environment
from .._mirror.heartbeat import ended_or_dead
from .._mirror.runs import run_key


def last_sync(context: dg.SensorEvaluationContext, environment: Environment) -> dict[str, Any] | None:
    """The newest sync, since a person may have repeated it; None if there is none."""
    newest = next(iter(context.instance.get_runs(dg.RunsFilter(job_name=environment.sync_job), limit=1)), None)
    return _state(newest, is_running=not newest.is_finished) if newest else None


def last_mirror(
    context: dg.SensorEvaluationContext, environment: Environment, run_id: str, attempt: int
) -> dict[str, Any] | None:
    """The newest run that this attempt became; None if it was deleted."""
    tags = {RUN_KEY_TAG: run_key(run_id, attempt)}
    runs = context.instance.get_runs(dg.RunsFilter(job_name=environment.mirror_job, tags=tags), limit=10)
    if not runs:
        return None
    is_running = any(not ended_or_dead(context, run) for run in runs)
    # Complete by this run, or by one that a person launched since.
    tags = {RUN_ID_TAG: run_id, MIRROR_TAG: MIRROR_COMPLETE}
    complete: Iterable[dg.DagsterRun] = ()
    if not is_running and runs[0].status != dg.DagsterRunStatus.SUCCESS:
        complete = context.instance.get_runs(dg.RunsFilter(job_name=environment.mirror_job, tags=tags), limit=1)
    return _state(runs[0], is_running=is_running, is_complete=any(complete))


def with_free_key(context: dg.SensorEvaluationContext, job: str, key: str) -> str:
    """Dagster takes each run key once: the first that is free."""
    attempt = 1
    while True:
        tags = {RUN_KEY_TAG: run_key(key, attempt)}
        if not context.instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=1):
            return run_key(key, attempt)
        attempt += 1


def _state(run: dg.DagsterRun, *, is_running: bool, is_complete: bool = False) -> dict[str, Any]:
    return {"status": run.status.value, "is_running": is_running, "is_complete": is_complete}
