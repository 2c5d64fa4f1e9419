"""Whether somebody still executes a mirror.

Dagster's own run launcher cannot tell: the run of a worker that went with its machine stays "started" for ever, and
the sensor would wait for it as long. So the mirror puts a sign of life on its run, and the sensor looks how old it is.
"""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from .. import _internals

ALIVE_TAG = "tobiko/alive_at"
SIGN_EVERY_S = 60.0
# Without a sign for so long, nobody executes it. Also for a worker that was launched and has not begun.
SILENCE_LIMIT_S = 300.0
# A machine that was asleep: before it is called dead, the worker gets the time to say that it lives.
WAKE_S = 3.0


class SignOfLife:
    """The worker's part."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._given_at: float | None = None

    def give_if_due(self) -> None:
        now = time.time()  # goes on while a machine sleeps
        if self._given_at is None or not 0 <= now - self._given_at < SIGN_EVERY_S:
            text = datetime.fromtimestamp(now, timezone.utc).isoformat(timespec="seconds")
            self._instance.add_run_tags(self._run_id, {ALIVE_TAG: text})
            self._given_at = now


def ended_or_dead(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    """Whether nobody executes the run any more. That of a worker silent for too long is ended in Dagster, too."""
    if run.is_finished:
        return True
    if context.instance.run_launcher.supports_check_run_worker_health:
        return run.status == dg.DagsterRunStatus.STARTED and _launcher_lost_it(context, run)
    if not _is_silent(context.instance, run.run_id):
        return False
    time.sleep(WAKE_S)
    again = context.instance.get_run_by_id(run.run_id)
    if again is None or again.is_finished or not _is_silent(context.instance, run.run_id):
        return False
    message = f"Nobody executes this run any more: its worker gave no sign of life for {SILENCE_LIMIT_S:.0f} s."
    if again.status == dg.DagsterRunStatus.CANCELING:
        context.instance.report_run_canceled(again, message)
    else:
        context.instance.report_run_failed(again, message)
    return True


def _is_silent(instance: dg.DagsterInstance, run_id: str) -> bool:
    record: Any = instance.get_run_record_by_id(run_id)
    if record is None:
        return False
    run = record.dagster_run
    # Under an executor that gives no sign, a run that has started may be silent.
    is_expected = run.status == dg.DagsterRunStatus.STARTING or ALIVE_TAG in run.tags
    return is_expected and time.time() - record.update_timestamp.timestamp() > SILENCE_LIMIT_S


def _launcher_lost_it(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    try:
        health = context.instance.run_launcher.check_run_worker_health(run)
    except Exception as error:  # of the launcher's platform
        context.log.warning(f"whether run {run.run_id} is alive could not be asked: {error}")
        return False
    if health.status not in (_internals.WorkerStatus.NOT_FOUND, _internals.WorkerStatus.FAILED):
        return False
    again = context.instance.get_run_by_id(run.run_id)  # it may have ended while that was asked
    return again is not None and not again.is_finished
