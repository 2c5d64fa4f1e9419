"""The latest events that Dagster has of the assets and checks of a task result. Reads only."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import dagster as dg

from .. import _internals
from .messages import (
    EVALUATION_ID_OF_ASSET,
    EVALUATION_ID_OF_CHECK,
    TIMESTAMP_OF_ASSET,
    TIMESTAMP_OF_CHECK,
    CheckResult,
    Materialization,
    TaskResult,
    number_of,
    text_of,
)

# Others write too (a sync beside a mirror): what was read longer ago than this is read again before writing.
FRESH_FOR_S = 1.0
# Batch size of a read, in keys: about as many as are written before they become stale again.
MIN_BATCH, MAX_BATCH = 20, 400
_HISTORY = 20


@dataclass(frozen=True)
class LatestEvent:
    """The latest event of an asset or a check. `passed` is None for an asset."""

    evaluation_id: str | None
    timestamp: float | None
    run_id: str
    passed: bool | None = None
    materialization: _internals.AssetCheckEvaluationTargetMaterializationData | None = None


class EventLog:
    """A cache of the latest events, valid for a second, which reads ahead for what is about to be written."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self._instance = instance
        self._run_id = run_id
        self._assets: dict[dg.AssetKey, LatestEvent | None] = {}
        self._checks: dict[dg.AssetCheckKey, LatestEvent | None] = {}
        self._shown: dict[dg.AssetKey, str] = {}
        self._planned: set[dg.AssetCheckKey] = set()
        self._wiped_at: dict[dg.AssetKey, float] = {}
        self._read_at: dict[Any, float] = {}
        # Keys that will be refreshed soon, in that order.
        self._prefetched: dict[Any, None] = {}
        # How many keys were refreshed since the last read.
        self._refreshed = MAX_BATCH

    def prefetch(self, results: Iterable[TaskResult]) -> None:
        """Announces results that will be refreshed soon, so that they are read together."""
        for result in results:
            self._prefetched.update(dict.fromkeys(_keys(result)))

    def refresh(self, result: TaskResult) -> None:
        """Makes sure that what is cached of the result's assets and checks is fresh."""
        keys = _keys(result)
        if any(self._is_stale(key) for key in keys):
            most = min(max(MIN_BATCH, 2 * self._refreshed), MAX_BATCH)
            others = (key for key in self._prefetched if key not in keys and self._is_stale(key))
            together = [*keys, *islice(others, most)]
            self._refreshed = 0
            self._read_assets([key for key in together if isinstance(key, dg.AssetKey)])
            self._read_checks([key for key in together if isinstance(key, dg.AssetCheckKey)])
        self._refreshed += len(keys)
        for key in keys:
            self._prefetched.pop(key, None)

    def refresh_asset(self, key: dg.AssetKey) -> None:
        """Makes sure that what is cached of one asset is fresh."""
        if self._is_stale(key):
            self._read_assets([key])

    def asset(self, key: dg.AssetKey) -> LatestEvent | None:
        return self._assets.get(key)

    def run_shown(self, key: dg.AssetKey) -> str | None:
        """The id of the run that announced or materialized the asset last."""
        return self._shown.get(key)

    def check(self, key: dg.AssetCheckKey) -> LatestEvent | None:
        return self._checks.get(key)

    def wiped_at(self, key: dg.AssetKey) -> float | None:
        """When the asset's materializations were wiped, in epoch seconds."""
        return self._wiped_at.get(key)

    def is_planned(self, key: dg.AssetCheckKey) -> bool:
        """Whether this run has already planned the check: to plan it twice is an error in Dagster."""
        return key in self._planned

    def announced(self, key: dg.AssetKey) -> None:
        self._shown[key] = self._run_id

    def wrote_asset(self, materialization: Materialization) -> None:
        self._shown[materialization.key] = self._run_id
        self._assets[materialization.key] = LatestEvent(
            materialization.evaluation_id, materialization.timestamp, self._run_id
        )

    def wrote_check(self, result: CheckResult) -> None:
        self._planned.add(result.key)
        self._checks[result.key] = LatestEvent(result.evaluation_id, result.timestamp, self._run_id, result.passed)

    def _is_stale(self, key: Any) -> bool:
        read_at = self._read_at.get(key)
        return read_at is None or time.monotonic() - read_at > FRESH_FOR_S

    def _read_assets(self, keys: list[dg.AssetKey]) -> None:
        if not keys:
            return
        now = time.monotonic()
        self._assets.update(dict.fromkeys(keys))
        self._read_at.update(dict.fromkeys(keys, now))
        unknown = dict.fromkeys(keys)
        for key in keys:
            self._shown.pop(key, None)
        for record in self._instance.get_asset_records(keys):
            key, details = record.asset_entry.asset_key, record.asset_entry.asset_details
            unknown.pop(key, None)
            wiped_at = details.last_wipe_timestamp if details else None
            if wiped_at:
                self._wiped_at[key] = wiped_at
            if record.asset_entry.last_run_id is not None:
                self._shown[key] = record.asset_entry.last_run_id
            latest = record.asset_entry.last_materialization_record
            # A wiped asset that is announced on a run shows up with the materialization from before.
            if latest is not None and wiped_at and latest.timestamp <= wiped_at:
                continue
            if latest is not None and latest.asset_materialization is not None:
                metadata = latest.asset_materialization.metadata
                self._assets[key] = LatestEvent(
                    text_of(metadata, EVALUATION_ID_OF_ASSET),
                    number_of(metadata, TIMESTAMP_OF_ASSET),
                    latest.run_id,
                    materialization=_internals.AssetCheckEvaluationTargetMaterializationData(
                        storage_id=latest.storage_id, run_id=latest.run_id, timestamp=latest.timestamp
                    ),
                )
        if _internals.EVENTS_HAVE_TIMES:
            self._wiped_at.update(_internals.wiped_at(self._instance, list(unknown)))

    def _read_checks(self, keys: list[dg.AssetCheckKey]) -> None:
        if not keys:
            return
        now = time.monotonic()
        self._checks.update(dict.fromkeys(keys))
        self._read_at.update(dict.fromkeys(keys, now))
        storage = self._instance.event_log_storage
        for key, record in storage.get_latest_asset_check_execution_by_key(keys).items():
            if record.run_id == self._run_id:
                self._planned.add(key)
            evaluation = evaluation_in(record)
            # Only planned so far, by a run that may never report a result: the last result counts.
            latest = (evaluation, record) if evaluation else last_evaluation(self._instance, key)
            if latest:
                self._checks[key] = LatestEvent(
                    text_of(latest[0].metadata, EVALUATION_ID_OF_CHECK),
                    number_of(latest[0].metadata, TIMESTAMP_OF_CHECK),
                    latest[1].run_id,
                    latest[0].passed,
                )


def last_evaluation(
    instance: dg.DagsterInstance, key: dg.AssetCheckKey
) -> tuple[_internals.AssetCheckEvaluation, Any] | None:
    """The last result of a check, ignoring runs that planned it and reported none."""
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=_HISTORY)
    for record in history:
        evaluation = evaluation_in(record)
        if evaluation is not None:
            return evaluation, record
    return None


def evaluation_in(record: Any) -> _internals.AssetCheckEvaluation | None:
    event = record.event.dagster_event if record.event else None
    data = event.event_specific_data if event else None
    return data if isinstance(data, _internals.AssetCheckEvaluation) else None


def reported_by_earlier_attempts(instance: dg.DagsterInstance, run: dg.DagsterRun) -> frozenset[tuple[Any, str]]:
    """(asset key or check key, evaluation id) of everything that the other runs of a re-execution have reported."""
    if not run.root_run_id:
        return frozenset()
    group = instance.get_run_group(run.run_id)
    runs = group[1] if group else ()
    reported: set[tuple[Any, str]] = set()
    for earlier in runs:
        if earlier.run_id == run.run_id:
            continue
        wanted = {dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
        for entry in instance.all_logs(earlier.run_id, of_type=wanted):
            key_and_id = _reported(entry.dagster_event)
            if key_and_id:
                reported.add(key_and_id)
    return frozenset(reported)


def _reported(event: dg.DagsterEvent | None) -> tuple[Any, str] | None:
    if event is None:
        return None
    data = event.event_specific_data
    if isinstance(data, _internals.AssetCheckEvaluation):
        return _known(data.asset_check_key, data.metadata, EVALUATION_ID_OF_CHECK)
    if isinstance(data, _internals.StepMaterializationData):
        return _known(data.materialization.asset_key, data.materialization.metadata, EVALUATION_ID_OF_ASSET)
    return None


def _known(key: Any, metadata: Mapping[str, Any], name: str) -> tuple[Any, str] | None:
    evaluation_id = text_of(metadata, name)
    return (key, evaluation_id) if evaluation_id else None


def _keys(result: TaskResult) -> list[Any]:
    """The assets and checks of a result, and the assets of its checks."""
    assets = [m.key for m in result.materializations]
    checks = [c.key for c in result.checks]
    return list(dict.fromkeys([*assets, *(key.asset_key for key in checks), *checks]))
