"""Writes remote runs of the past as runs of the mirror job: the rows of the runs, and how their steps ended.

Nothing else is written. An asset's or a check's event would be its latest, whatever its time; an event of a run's
status would wake the user's run status sensors. These runs have no run key and no mark of a complete mirror, so the
tracking sensor does not take them for mirrors.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

import dagster as dg

from .. import _internals
from .._environment import HISTORY_TAG, REPOSITORY_LABEL_TAG, RUN_ID_TAG, RUN_KEY_TAG, Environment
from .._events.messages import PastRun, PastTask

_QUERY_SIZE = 100


class PastRuns:
    """Writes those that Dagster does not have, each once."""

    def __init__(self, context: dg.OpExecutionContext, environment: Environment, mirror: dg.JobDefinition) -> None:
        self._instance = context.instance
        self._syncs = context.run
        self._cloud = environment.manifest.cloud
        self._op_of = environment.manifest.op_of
        self._mirror = mirror
        self._plan: _internals.ExecutionPlan | None = None
        self._snapshots: tuple[str, str] = ("", "")

    def write(self, runs: Iterable[PastRun]) -> int:
        """Writes those that have neither been mirrored nor been written before; returns how many these were."""
        new = self._without_known(list(runs))
        for run in new:
            self._write(run)
        return len(new)

    def _without_known(self, runs: list[PastRun]) -> list[PastRun]:
        known: set[str] = set()
        ids = [run.run_id for run in runs]
        for at in range(0, len(ids), _QUERY_SIZE):
            for tag in (RUN_ID_TAG, RUN_KEY_TAG):
                known.update(self._known(tag, ids[at : at + _QUERY_SIZE]))
        return [run for run in runs if run.run_id not in known]

    def _known(self, tag: str, run_ids: list[str]) -> Iterator[str]:
        label = self._syncs.tags.get(REPOSITORY_LABEL_TAG)
        tags: dict[str, Any] = {tag: run_ids, **({REPOSITORY_LABEL_TAG: label} if label else {})}
        for run in self._instance.get_runs(dg.RunsFilter(job_name=self._mirror.name, tags=tags)):
            if HISTORY_TAG in run.tags and not run.is_finished:
                # The worker that wrote it went down before it was whole.
                self._instance.delete_run(run.run_id)
            else:
                yield run.tags[tag]

    def _write(self, past: PastRun) -> None:
        plan = self._prepared()
        job_snapshot_id, plan_snapshot_id = self._snapshots
        label = self._syncs.tags.get(REPOSITORY_LABEL_TAG)
        run = dg.DagsterRun(
            job_name=self._mirror.name,
            run_id=str(uuid.uuid4()),
            run_config={},
            # It goes through no queue, and no daemon watches a run that has not started.
            status=dg.DagsterRunStatus.NOT_STARTED,
            tags={
                **self._mirror.run_tags,
                RUN_ID_TAG: past.run_id,
                HISTORY_TAG: past.run_id,
                **({REPOSITORY_LABEL_TAG: label} if label else {}),
            },
            job_snapshot_id=job_snapshot_id,
            execution_plan_snapshot_id=plan_snapshot_id,
        )
        start_at, end_at = _moment(past.start_at), _moment(past.end_at)
        storage = self._instance.run_storage
        storage.add_historical_run(run, start_at)
        for at, event in sorted(self._step_events(plan, past), key=lambda pair: pair[0]):
            level = logging.ERROR if event.is_step_failure else logging.DEBUG
            self._instance.report_dagster_event(event, run.run_id, log_level=level, timestamp=min(at, time.time()))
        # Only the row learns how the run ended: nothing of it gets into the event log.
        ended = dg.DagsterEventType.RUN_SUCCESS if past.outcome == "success" else dg.DagsterEventType.RUN_FAILURE
        for kind, moment in ((dg.DagsterEventType.RUN_START, start_at), (ended, end_at)):
            storage.handle_run_event(run.run_id, dg.DagsterEvent(kind.value, self._mirror.name), moment)

    def _prepared(self) -> _internals.ExecutionPlan:
        """The plan of the mirror job; stores the snapshots by which Dagster's page draws the steps of a run."""
        if self._plan is None:
            self._plan = _internals.create_execution_plan(self._mirror)
            self._snapshots = _internals.stored_snapshots(self._instance, self._mirror, self._plan)
        return self._plan

    def _step_events(self, plan: _internals.ExecutionPlan, past: PastRun) -> Iterator[tuple[float, dg.DagsterEvent]]:
        """With their times. A node that the job does not have any more has no step."""
        for task in past.tasks:
            op = self._op_of.get(task.node)
            if op is None:
                continue
            step: Any = plan.get_step_by_key(op)
            start, end = task.start_at, max(task.start_at, task.end_at)
            yield start, self._step_event(step, dg.DagsterEventType.STEP_START, f'Started execution of step "{op}".')
            if task.outcome == "success":
                data: Any = _internals.StepSuccessData(duration_ms=(end - start) * 1000)  # type: ignore[no-untyped-call]
                text = f'Finished execution of step "{op}".'
                yield end, self._step_event(step, dg.DagsterEventType.STEP_SUCCESS, text, data)
            else:
                text = f'Execution of step "{op}" failed.'
                yield end, self._step_event(step, dg.DagsterEventType.STEP_FAILURE, text, self._failure(task))

    def _step_event(self, step: Any, kind: dg.DagsterEventType, message: str, data: Any = None) -> dg.DagsterEvent:
        return dg.DagsterEvent(
            kind.value,
            self._mirror.name,
            step_handle=step.handle,
            node_handle=step.node_handle,
            step_kind_value=step.kind.value,
            event_specific_data=data,
            message=message,
        )

    def _failure(self, task: PastTask) -> Any:
        """As a step of a mirror fails."""
        links = (("Debugger", task.link), ("Log Link", task.log_link))
        return _internals.StepFailureData(  # type: ignore[no-untyped-call]
            error=None,
            user_failure_data=_internals.UserFailureData(  # type: ignore[no-untyped-call]
                label="intentional-failure",
                description=f"{task.node} failed in {self._cloud}: {task.reason or 'no message'}",
                metadata={name: dg.MetadataValue.url(url) for name, url in links if url},
            ),
        )


def _moment(epoch: float) -> datetime:
    """Never in the future: the cloud's clock may be ahead."""
    return datetime.fromtimestamp(min(epoch, time.time()), timezone.utc)
