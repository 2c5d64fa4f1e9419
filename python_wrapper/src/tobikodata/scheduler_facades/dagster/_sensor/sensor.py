"""The sensor: asks for the first sync, then for a mirror of each new remote run, one at a time."""

from __future__ import annotations

from typing import Any

import dagster as dg

from .._environment import MIRROR_COMPLETE, MIRROR_TAG, RUN_ID_TAG, RUN_KEY_TAG, Environment
from .._errors import TobikoFacadeError
from .._launch import executable
from .._manifest import Manifest
from .._mirror.heartbeat import ended_or_dead
from .._mirror.runs import run_key
from .cursor import ATTEMPTS, Cursor, parse, write
from .reload import reload

SYNC_KEY = "__initial_sync__"
INTERVAL_S = 30
NO_RUN = ""
# As a mirror's run was before it was looked whether it is alive.
_NOT_AGAIN = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.CANCELING)
RELOADED = "the code location was reloaded: its jobs are asked for when this sensor is the reloaded one"


def track_sensor(
    environment: Environment, sync: dg.JobDefinition, mirror: dg.JobDefinition, on: bool
) -> dg.SensorDefinition:
    return dg.SensorDefinition(
        name=environment.sensor,
        description=f"Mirrors each new run of Tobiko Cloud's environment {environment.name}.",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        jobs=[sync, mirror],
        evaluation_fn=lambda context: _tick(context, environment),
    )


def _tick(context: dg.SensorEvaluationContext, environment: Environment) -> Any:
    cursor = parse(context.cursor)
    if cursor.shown is None:
        cursor = cursor.showing(environment.manifest.fingerprint)
    cursor, sync_again = _look_after_sync(context, environment, cursor)
    if sync_again:
        return _ask_for([_sync_request(context, environment)], cursor)
    if cursor.last and cursor.attempt:
        state = _mirror_state(context, environment, cursor.last, cursor.attempt)
        if state == "going":
            return _skip(f"the mirror of remote run {cursor.last} has not ended yet", cursor)
        if state == "died" and cursor.attempt < ATTEMPTS:
            context.log.warning(
                f"the mirror of remote run {cursor.last} broke off before it had told all: asked for again"
            )
            cursor = cursor.asked_again()
            return _ask_for([_mirror_request(environment, str(cursor.last), cursor.attempt)], cursor)
        if state == "died":
            context.log.warning(f"the mirror of remote run {cursor.last} broke off {ATTEMPTS} times: given up")
    try:
        if not environment.manifest.exists:
            waiting = _wait_for_environment(context, environment, cursor)
            if waiting:
                return waiting
        answer = executable.poll(environment.connection, environment.name, cursor.last)
    except TobikoFacadeError as error:
        # An outage passes by itself: the tick is skipped and says why. What a person must mend fails it.
        if error.outage:
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        raise
    return _answer(context, environment, cursor, answer)


def _look_after_sync(
    context: dg.SensorEvaluationContext, environment: Environment, cursor: Cursor
) -> tuple[Cursor, bool]:
    """Whether the sync that was asked for is to be asked for again."""
    state = _sync_state(context, environment) if cursor.sync_attempt else "ended"
    if state == "going":
        return cursor, False
    if state == "died" and cursor.sync_attempt < ATTEMPTS:
        context.log.warning("the sync broke off: asked for again")
        return cursor.asked_for_sync(cursor.sync_attempt + 1), True
    if state == "died":
        context.log.warning(f"the sync broke off {ATTEMPTS} times: given up; launch {environment.sync_job} by hand")
    return cursor.sync_over(), False


def _wait_for_environment(
    context: dg.SensorEvaluationContext, environment: Environment, cursor: Cursor
) -> dg.SensorResult | None:
    """The code location was loaded before the environment existed: looks whether it does now."""
    text = executable.definitions(environment.connection, environment.name, environment.asset_prefix)
    manifest = Manifest.from_json(text)
    if not manifest.exists:
        return _skip(f"environment {environment.name} does not exist in Tobiko Cloud (yet)", cursor)
    cursor, wait = _reload_if_needed(context, environment, cursor, manifest.fingerprint, NO_RUN)
    return _skip(RELOADED, cursor) if wait else None


def _answer(
    context: dg.SensorEvaluationContext, environment: Environment, cursor: Cursor, answer: dict[str, Any]
) -> dg.SensorResult:
    """What follows from the cloud's answer."""
    if not answer.get("exists"):
        return _skip(f"environment {environment.name} does not exist in Tobiko Cloud (yet)", cursor)
    runs: list[dict[str, Any]] = list(answer.get("runs") or ())
    if cursor.newest_only:
        runs = runs[-1:]
    if not cursor.synced:
        runs = _from_first_open(runs)
    requests: list[dg.RunRequest] = []
    lost = cursor.synced and cursor.last is not None and not answer.get("since_known", True)
    next_run = str(runs[0]["run_id"]) if runs else None

    if next_run:
        fingerprint = answer.get("fingerprint")
        cursor, wait = _reload_if_needed(context, environment, cursor, fingerprint, next_run)
        if wait:
            return _skip(RELOADED, cursor)

    if answer.get("missed"):
        context.log.warning(
            f"{answer['missed']} remote runs were missed and are not mirrored, only the newest {len(runs)}"
        )
    if lost:
        context.log.warning(
            f"Tobiko Cloud does not know run {cursor.last} any more: the newest run is mirrored, and the "
            "environment is synced once"
        )
    if lost or not cursor.synced:
        requests.append(_sync_request(context, environment))
        cursor = cursor.asked_for_sync()
    if next_run:
        cursor = cursor.asked_for(next_run)
        requests.append(_mirror_request(environment, next_run, 1))
    elif lost:
        cursor = cursor.passed(None)
    elif not cursor.synced:
        newest = list(answer.get("runs") or ())[-1:]
        cursor = cursor.passed(str(newest[0]["run_id"]) if newest else None)
    if requests:
        return _ask_for(requests, cursor)
    return _skip("no new remote run", cursor)


def _from_first_open(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At the first tick, the sync tells of what had ended; what is in progress is mirrored, and all later."""
    for index, run in enumerate(runs):
        if not run.get("ended"):
            return runs[index:]
    return []


def _reload_if_needed(
    context: dg.SensorEvaluationContext,
    environment: Environment,
    cursor: Cursor,
    fingerprint: str | None,
    with_run: str,
) -> tuple[Cursor, bool]:
    """Whether to wait for the next tick: a run asked for now could be one of the job as loaded before."""
    if not fingerprint:
        return cursor, False
    is_own = fingerprint == environment.manifest.fingerprint
    if is_own and (cursor.shown == fingerprint or not environment.graphql.host):
        return cursor.showing(fingerprint), False
    if cursor.may_reload(fingerprint, with_run):
        worked = reload(context, environment.graphql)
        return cursor.reloaded(fingerprint, with_run, worked=worked), worked and not is_own
    if not is_own and cursor.reload_for == fingerprint and cursor.reload_wait > 0:
        return cursor.waited(), True
    return cursor, False


def _sync_state(context: dg.SensorEvaluationContext, environment: Environment) -> str:
    """`going`, `died`, or `ended`, by the newest: a person may have repeated it."""
    newest = next(iter(context.instance.get_runs(dg.RunsFilter(job_name=environment.sync_job), limit=1)), None)
    if newest is None:
        return "ended"
    if not newest.is_finished:
        return "going"
    return "died" if newest.status == dg.DagsterRunStatus.FAILURE else "ended"


def _mirror_state(context: dg.SensorEvaluationContext, environment: Environment, run_id: str, attempt: int) -> str:
    """`going`, `died` (before it had told all), or `ended`: also cancelled, or deleted, by a person."""
    instance = context.instance
    tags = {RUN_KEY_TAG: run_key(run_id, attempt)}
    runs = instance.get_runs(dg.RunsFilter(job_name=environment.mirror_job, tags=tags), limit=10)
    if any(not ended_or_dead(context, run) for run in runs):
        return "going"
    newest = next(iter(runs), None)
    if newest is None or newest.status in _NOT_AGAIN:
        return "ended"
    # Told all by this run, or by one that a person launched since.
    told = dg.RunsFilter(job_name=environment.mirror_job, tags={RUN_ID_TAG: run_id, MIRROR_TAG: MIRROR_COMPLETE})
    return "ended" if instance.get_runs(told, limit=1) else "died"


def _mirror_request(environment: Environment, run_id: str, attempt: int) -> dg.RunRequest:
    return dg.RunRequest(run_key=run_key(run_id, attempt), job_name=environment.mirror_job, tags={RUN_ID_TAG: run_id})


def _sync_request(context: dg.SensorEvaluationContext, environment: Environment) -> dg.RunRequest:
    """Dagster takes each run key once: the first that is free."""
    attempt = 1
    while True:
        key = run_key(SYNC_KEY, attempt)
        used = dg.RunsFilter(job_name=environment.sync_job, tags={RUN_KEY_TAG: key})
        if not context.instance.get_runs(used, limit=1):
            return dg.RunRequest(run_key=key, job_name=environment.sync_job)
        attempt += 1


def _ask_for(requests: list[dg.RunRequest], cursor: Cursor) -> dg.SensorResult:
    return dg.SensorResult(run_requests=requests, cursor=write(cursor))


def _skip(reason: str, cursor: Cursor) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(reason), cursor=write(cursor))
