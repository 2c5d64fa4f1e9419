"""Whether a worker still executes a mirror.

Dagster's default run launcher cannot know: the run of a worker that went down with its machine stays "started" for
ever, and the sensor would wait for it. So the mirror puts a heartbeat on its run, and the sensor checks its age.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone

import dagster as dg

from .. import _internals
from .announcements import hand_back_all

# Dagster's pages hide tags with this prefix. The second is that of runs which an earlier release has launched.
ALIVE_TAG = ".dagster/tobiko_alive_at"
OLD_ALIVE_TAG = "tobiko/alive_at"
HEARTBEAT_INTERVAL_S = 60.0
# Without a heartbeat for this long, the worker is considered dead; so is one that was launched and never started.
SILENCE_LIMIT_S = 300.0
# A machine may have been asleep: its worker gets this long to send a heartbeat before it is considered dead.
WAKE_S = 3.0


class Heartbeat:
    """The worker's side."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._beaten_at: float | None = None

    def beat_if_due(self) -> None:
        now = time.time()  # unlike a monotonic clock, it advances while the machine sleeps
        if self._beaten_at is None or not 0 <= now - self._beaten_at < HEARTBEAT_INTERVAL_S:
            text = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds")
            self._instance.add_run_tags(self._run_id, {ALIVE_TAG: text})
            self._beaten_at = now


def ended_or_dead(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    """Whether nobody executes the run any more.

    A run without a heartbeat for too long is marked in Dagster as failed, or as canceled if that was requested.
    """
    if run.is_finished:
        return True
    if context.instance.run_launcher.supports_check_run_worker_health:
        return run.status == dg.DagsterRunStatus.STARTED and _launcher_lost_it(context, run)
    if not _is_silent_by_now(context.instance, run.run_id):
        return False
    time.sleep(WAKE_S)
    again = context.instance.get_run_by_id(run.run_id)
    if again is None or again.is_finished or not _is_silent_by_now(context.instance, run.run_id):
        return False
    hand_back_all(context.instance, again)  # before its failure shows
    message = f"Nobody executes this run any more: no heartbeat from its worker for {SILENCE_LIMIT_S:.0f} s."
    if again.status == dg.DagsterRunStatus.CANCELING:
        context.instance.report_run_canceled(again, message)
    else:
        context.instance.report_run_failed(again, message)
    return True


def is_silent(record: dg.RunRecord) -> bool:
    """Whether a run that goes on lacks a heartbeat for too long: its machine is gone, or has been asleep."""
    run = record.dagster_run
    # Other executors send no heartbeat: there, a run that has started may be silent.
    is_expected = run.status == dg.DagsterRunStatus.STARTING or ALIVE_TAG in run.tags or OLD_ALIVE_TAG in run.tags
    return is_expected and time.time() - record.update_timestamp.timestamp() > SILENCE_LIMIT_S


def _is_silent_by_now(instance: dg.DagsterInstance, run_id: str) -> bool:
    record = instance.get_run_record_by_id(run_id)
    return record is not None and is_silent(record)


def _launcher_lost_it(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    try:
        health = context.instance.run_launcher.check_run_worker_health(run)
    except Exception as error:  # of the launcher's platform
        context.log.warning(f"the run launcher could not check whether run {run.run_id} is alive: {error}")
        return False
    if health.status not in (_internals.WorkerStatus.NOT_FOUND, _internals.WorkerStatus.FAILED):
        return False
    again = context.instance.get_run_by_id(run.run_id)  # it may have ended meanwhile
    return again is not None and not again.is_finished
