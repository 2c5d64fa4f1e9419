"""The sensor: requests the first sync, then a mirror of each new remote run, oldest first.

What a tick comes to is decided by `tobiko-facade tick`; here it is launched and its answer handed to Dagster.
"""

from __future__ import annotations

import json
from typing import Any

import dagster as dg

from .._environment import SYNC_OP, Environment
from .._errors import TobikoFacadeError
from .._launch import executable
from .._mirror.announcements import hand_back_for_interrupted
from .dagster_runs import last_sync, newest_mirror, with_free_key
from .reload import reload


def track_sensor(
    environment: Environment, sync: dg.JobDefinition, mirror: dg.JobDefinition, on: bool, interval_s: int
) -> dg.SensorDefinition:
    return dg.SensorDefinition(
        name=environment.sensor,
        description=f"Mirrors each new run of Tobiko Cloud's environment {environment.name}.",
        minimum_interval_seconds=interval_s,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        jobs=[sync, mirror],
        evaluation_fn=lambda context: _tick(context, environment, interval_s),
    )


def _tick(context: dg.SensorEvaluationContext, environment: Environment, interval_s: int) -> Any:
    state = {**_state(context, environment), "interval_seconds": interval_s}
    hand_back_for_interrupted(context.instance)
    try:
        answer = executable.tick(environment.connection, environment.name, state)
    except TobikoFacadeError as error:
        # An outage passes by itself: the tick is skipped and says why. What a person must mend fails it.
        if error.outage:
            context.log.warning(str(error))
            return dg.SkipReason(str(error))
        raise
    reply = answer.get("reply")
    if reply is None:
        worked = reload(context, environment)
        reply = answer["reload"]["done" if worked else "not_done"]
    return _result(context, environment, reply)


def _state(context: dg.SensorEvaluationContext, environment: Environment) -> dict[str, Any]:
    """What Dagster knows."""
    record = _record(context.cursor)
    origin = context.code_location_origin
    return {
        "cursor": context.cursor,
        "manifest": {
            "exists": environment.manifest.exists,
            "fingerprint": environment.manifest.fingerprint,
            "asset_prefix": environment.asset_prefix,
        },
        "location": origin.location_name if origin else None,
        "can_reload": bool(environment.graphql.host),
        "sync": last_sync(context, environment) if record.get("sync_attempt") else None,
        "mirrors": {
            run_id: newest_mirror(context, environment, run_id, attempt) for run_id, attempt in _chain(record).items()
        },
    }


def _record(cursor: str | None) -> dict[str, Any]:
    """Of the cursor, which only the executable understands, here is read which runs to look for."""
    try:
        record = json.loads(cursor or "")
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _chain(record: dict[str, Any]) -> dict[str, int]:
    """The attempts of the mirrors that were requested together, by remote run."""
    last, attempt = record.get("last"), record.get("attempt")
    if not (last and attempt):
        return {}
    chain = {str(mirror["run_id"]): int(mirror["attempt"]) for mirror in record.get("chain") or ()}
    return {**chain, str(last): int(attempt)}  # a cursor of an older release has no chain, or one that is out of date


def _result(context: dg.SensorEvaluationContext, environment: Environment, reply: dict[str, Any]) -> dg.SensorResult:
    for line in reply["log"]:
        log = context.log.warning if line["level"] == "warning" else context.log.info
        log(line["text"])
    requests = [_request(context, environment, request) for request in reply["requests"]]
    skip_reason = dg.SkipReason(reply["skip_reason"]) if reply["skip_reason"] else None
    return dg.SensorResult(run_requests=requests, skip_reason=skip_reason, cursor=reply["cursor"])


def _request(context: dg.SensorEvaluationContext, environment: Environment, request: dict[str, Any]) -> dg.RunRequest:
    if request["job"] == "mirror":
        return dg.RunRequest(request["run_key"], job_name=environment.mirror_job, tags=request["tags"])
    run_key = with_free_key(context, environment.sync_job, request["run_key"])
    plan_id = request["plan_id"]
    config = {"ops": {SYNC_OP: {"config": {"plan_id": plan_id}}}} if plan_id else {}
    return dg.RunRequest(run_key, job_name=environment.sync_job, tags=request["tags"], run_config=config)
