"""Assets show progress and failure: while a mirror is about to write an asset, the asset is announced on its run.

Dagster keeps no state of an asset. Its pages, its asset health and its automation conditions look at the run that
announced the asset last (`ASSET_MATERIALIZATION_PLANNED`): while that run goes on, the asset is in progress; if it
fails without having materialized the asset, the asset is failed, whatever other runs have written. Hence two rules:

- Who materializes an asset has announced it, so that the run with the latest materialization is the one looked at.
- Who has announced an asset, and neither materializes it nor has a failed evaluation to show, hands it back: the same
  event is reported under the run which the asset showed before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import dagster as dg

from .. import _internals
from .._environment import Environment
from .._events.events import NewEvents
from .._events.latest import EventLog
from .._events.messages import RemoteRun, TaskResult, TaskStarted

# On a run that may have to hand back assets. Dagster's pages hide tags with this prefix.
ANNOUNCED_TAG = ".dagster/tobiko_announced"
OPEN, HANDED_BACK = "open", "handed_back"
# On the same runs: when the remote run started, in Unix seconds.
STARTED_TAG = ".dagster/tobiko_started_at"
# How Dagster stores events that belong to no run.
_NO_RUN = ""
_EXTERNAL_KIND = "table"
_BATCH = 20


class Announcements:
    """What one run has announced."""

    def __init__(
        self, environment: Environment, instance: dg.DagsterInstance, run: dg.DagsterRun, log: EventLog
    ) -> None:
        self._instance = instance
        self._run = run
        self._log = log
        self._names = environment.names
        self._nodes = {node.name: node for node in environment.manifest.nodes}
        # Announced, and nothing is known of the end. Failed ones are not among them.
        self._open: set[dg.AssetKey] = set()
        self._is_tagged = False
        self._started_at: float | None = None
        # Mirrors of remote runs that started later: what they show stays.
        self._newer: frozenset[str] = frozenset()
        self._to_show_again: dict[dg.AssetKey, str] = {}
        self._succeeded: dict[str, bool] = {run.run_id: False}

    def follow(self, remote_run: RemoteRun) -> None:
        """Before anything is announced: which remote run this is."""
        self._started_at = remote_run.started_at
        if remote_run.started_at is not None:
            others = self._instance.get_runs(dg.RunsFilter(job_name=self._run.job_name), limit=_BATCH)
            started = {run.run_id: run.tags.get(STARTED_TAG) for run in others if run.run_id != self._run.run_id}
            self._newer = frozenset(
                run_id for run_id, at in started.items() if at is not None and float(at) > remote_run.started_at
            )

    def start(self, event: TaskStarted) -> None:
        """Announces the asset of a task that has started and goes on."""
        node = self._nodes.get(event.node)
        key = self._names.asset_of_node(event.node)
        # Nothing is ever loaded into an external model, only its audits run.
        if node is None or key is None or node.kind == _EXTERNAL_KIND:
            return
        if self._newer:
            self._log.refresh_asset(key)
        if self._log.run_shown(key) not in self._newer:
            self._announce(key, node.op)
            self._open.add(key)

    def settle(self, result: TaskResult, new: NewEvents) -> None:
        """Before `new` is written: announces what is to be materialized or has failed, and hands back all else."""
        node = self._nodes.get(result.node)
        step = node.op if node else None
        written = [materialization.key for materialization in new.materializations]
        for asset in written:
            self._open.discard(asset)
            # What shows a run that succeeded shows it as good whatever is written next: that saves an event.
            if not self._has_succeeded(self._log.run_shown(asset)):
                self._announce_unless_shown(asset, step)
        key = self._names.asset_of_node(result.node)
        if key is None or key in written:
            return
        was_open = key in self._open
        self._open.discard(key)
        if result.outcome == "failure" and not self._is_older(result, key):
            if self._log.run_shown(key) not in self._newer:
                self._announce_unless_shown(key, step)
        elif was_open:
            hand_back(self._instance, self._run.run_id, [key])

    def written(self) -> None:
        """After that: an asset that a newer mirror has announced, and failed, shows that run, not this older result."""
        for key, run_id in self._to_show_again.items():
            _report_again(self._instance, run_id, key, "what was written since is older")
        self._to_show_again.clear()

    def close(self, unhandled: Iterable[TaskResult] = ()) -> None:
        """Hands back what is open, when nothing more will be written. `unhandled` are results that no step shows."""
        failed = {self._names.asset_of_node(result.node) for result in unhandled if result.outcome == "failure"}
        self._open -= failed
        self.hand_back_open()
        if self._is_tagged:
            self._instance.add_run_tags(self._run.run_id, {ANNOUNCED_TAG: HANDED_BACK})

    def hand_back_open(self) -> None:
        """Hands back what has no end, where others go on to announce on this run: under another executor."""
        hand_back(self._instance, self._run.run_id, sorted(self._open, key=str))
        self._open.clear()

    def _is_older(self, failure: TaskResult, key: dg.AssetKey) -> bool:
        """Whether the asset was materialized after the failure: the mirror of an old run does not make it failed."""
        self._log.refresh_asset(key)
        latest = self._log.asset(key)
        known = latest is not None and latest.timestamp is not None and failure.at is not None
        return bool(known and latest.timestamp > failure.at)  # type: ignore[union-attr,operator]

    def _has_succeeded(self, shown: str | None) -> bool:
        """Whether the run that an asset shows did; an asset that shows none has never been announced."""
        if shown is None or shown in self._newer:
            return shown is None
        if shown not in self._succeeded:
            run = self._instance.get_run_by_id(shown)
            self._succeeded[shown] = run is not None and run.is_success
        return self._succeeded[shown]

    def _announce_unless_shown(self, key: dg.AssetKey, step: str | None) -> None:
        shown = self._log.run_shown(key)
        if shown in self._newer:
            self._to_show_again[key] = str(shown)
        elif shown != self._run.run_id:
            self._announce(key, step)

    def _announce(self, key: dg.AssetKey, step: str | None) -> None:
        if not self._is_tagged:
            self._is_tagged = True
            started = {} if self._started_at is None else {STARTED_TAG: str(self._started_at)}
            self._instance.add_run_tags(self._run.run_id, {ANNOUNCED_TAG: OPEN, **started})
        message = f"Asset {key.to_user_string()} is evaluated."
        _report(self._instance, self._run.run_id, self._run.job_name, key, step, message)
        self._log.announced(key)


def show(instance: dg.DagsterInstance, run: dg.DagsterRun, key: dg.AssetKey, step: str) -> None:
    """Makes an asset show a sync that has written it, or that is about to fail for it, not the run it showed before."""
    _report(instance, run.run_id, run.job_name, key, step, f"Asset {key.to_user_string()} shows this run.")


def show_failure_again(instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey) -> None:
    """After a sync has written a result that is older than a failure, which the run with this id shows."""
    _report_again(instance, run_id, key, "what was written since is older")


def hand_back_for_interrupted(instance: dg.DagsterInstance) -> None:
    """Hands back what mirrors have announced that were killed: nothing of them runs any more."""
    statuses = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    for run in instance.get_runs(dg.RunsFilter(statuses=statuses, tags={ANNOUNCED_TAG: OPEN}), limit=_BATCH):
        hand_back_all(instance, run)


def hand_back_all(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Hands back what the run has announced, and neither materialized nor seen fail. Nobody executes it any more."""
    if run.tags.get(ANNOUNCED_TAG) != OPEN:
        return
    announced: dict[dg.AssetKey, str | None] = {}
    failed_steps: set[str | None] = set()
    materialized: set[dg.AssetKey | None] = set()
    wanted = {
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.STEP_FAILURE,
    }
    for entry in instance.all_logs(run.run_id, of_type=wanted):
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            failed_steps.add(entry.step_key)
        elif event.is_step_materialization:
            materialized.add(event.asset_key)
        elif event.asset_key:
            announced[event.asset_key] = entry.step_key
    hand_back(
        instance,
        run.run_id,
        [key for key, step in announced.items() if key not in materialized and step not in failed_steps],
    )
    instance.add_run_tags(run.run_id, {ANNOUNCED_TAG: HANDED_BACK})


def hand_back(instance: dg.DagsterInstance, run_id: str, keys: Iterable[dg.AssetKey]) -> None:
    """Makes each asset show the run again that it showed before the run with this id announced it."""
    for key in keys:
        latest = instance.get_latest_planned_materialization_info(key)
        if latest is not None and latest.run_id == run_id:  # else another run has announced it since
            before = _shown_before(instance, run_id, key)
            _report_again(instance, before, key, f"run {run_id} announced it and did not materialize it")


def _shown_before(instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey) -> str:
    """The id of the run that announced or materialized the asset last, the given one aside."""
    records = instance.get_asset_records([key])
    materialized = records[0].asset_entry.last_materialization_record if records else None
    announced, cursor = None, None
    while announced is None:
        page = instance.fetch_planned_materializations(key, limit=_BATCH, cursor=cursor)
        announced = next((record for record in page.records if record.run_id != run_id), None)
        cursor = page.cursor
        if not page.has_more:
            break
    if announced is not None and (materialized is None or announced.storage_id > materialized.storage_id):
        return announced.run_id
    return materialized.run_id if materialized is not None else _NO_RUN


def _report_again(instance: dg.DagsterInstance, run_id: str, key: dg.AssetKey, why: str) -> None:
    run = instance.get_run_by_id(run_id) if run_id else None
    # A run that was deleted shows nothing; Dagster takes events that belong to none.
    run_id, job_name = (run.run_id, run.job_name) if run else (_NO_RUN, "")
    _report(instance, run_id, job_name, key, None, f"Asset {key.to_user_string()} shows this run again: {why}.")


def _report(
    instance: dg.DagsterInstance, run_id: str, job_name: str, key: dg.AssetKey, step: str | None, message: str
) -> None:
    event = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value,
        job_name,
        step_key=step,
        event_specific_data=_internals.AssetMaterializationPlannedData(key),
        message=message,
    )
    instance.report_dagster_event(event, run_id, logging.DEBUG)
