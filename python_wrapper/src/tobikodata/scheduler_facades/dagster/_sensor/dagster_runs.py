"""The runs in Dagster that a tick depends on, and nothing of what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from .._environment import (
    MIRROR_COMPLETE,
    MIRROR_TAG,
    REPOSITORY_LABEL_TAG,
    RUN_ID_TAG,
    RUN_KEY_TAG,
    Environment,
)
from .._mirror.heartbeat import ended_or_dead
from .._mirror.runs import run_key

SINGLETON_REPOSITORY_NAME = "__repository__"
# Runs of other code locations that are read to find one of this one's where none is labelled.
_LIMIT = 25


def last_sync(context: dg.SensorEvaluationContext, environment: Environment) -> dict[str, Any] | None:
    """The newest sync, since a person may have repeated it; None if there is none."""
    newest = next(iter(_own(context, environment.sync_job)), None)
    if newest is None:
        return None
    # The sync of a failed plan fails, too, and is complete.
    is_complete = newest.tags.get(MIRROR_TAG) == MIRROR_COMPLETE
    return _state(newest, is_running=not newest.is_finished, is_complete=is_complete)


def newest_mirror(
    context: dg.SensorEvaluationContext, environment: Environment, run_id: str, attempt: int
) -> dict[str, Any] | None:
    """The newest run that this attempt became; None if it was deleted."""
    runs = _own(context, environment.mirror_job, {RUN_KEY_TAG: run_key(run_id, attempt)})
    if not runs:
        return None
    is_running = any(not ended_or_dead(context, run) for run in runs)
    # Complete by this run, or by one that a person launched since.
    complete: Sequence[dg.DagsterRun] = ()
    if not is_running and runs[0].status != dg.DagsterRunStatus.SUCCESS:
        complete = _own(context, environment.mirror_job, {RUN_ID_TAG: run_id, MIRROR_TAG: MIRROR_COMPLETE})
    return _state(runs[0], is_running=is_running, is_complete=bool(complete))


def with_free_key(context: dg.SensorEvaluationContext, job: str, key: str) -> str:
    """Dagster takes each run key once: the first that is free."""
    attempt = 1
    while _own(context, job, {RUN_KEY_TAG: run_key(key, attempt)}):
        attempt += 1
    return run_key(key, attempt)


def _own(
    context: dg.SensorEvaluationContext, job: str, tags: Mapping[str, str] | None = None
) -> Sequence[dg.DagsterRun]:
    """The job's runs with these tags, newest first, of the code location that ticks.

    Another one may have an environment of the same name. Dagster labels the runs that it launches with the code
    location; those that were launched otherwise (in a test, in a notebook) have no label, and count as its own.
    """
    tags = dict(tags or {})
    origin = context.code_location_origin
    instance = context.instance
    if origin is None:
        return instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=_LIMIT)
    repository = context.repository_name or SINGLETON_REPOSITORY_NAME
    labelled = {**tags, REPOSITORY_LABEL_TAG: f"{repository}@{origin.location_name}"}
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=labelled), limit=_LIMIT)
    if runs:
        return runs
    runs = instance.get_runs(dg.RunsFilter(job_name=job, tags=tags), limit=_LIMIT)
    return [run for run in runs if REPOSITORY_LABEL_TAG not in run.tags and run.remote_job_origin is None]


def _state(run: dg.DagsterRun, *, is_running: bool, is_complete: bool = False) -> dict[str, Any]:
    return {"status": run.status.value, "is_running": is_running, "is_complete": is_complete}
