"""What tests ask of Dagster: run a job, and read what the event log says afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Callable

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

MIRROR = "tobiko_cloud_mirror_run_prod"
SYNC = "tobiko_cloud_sync_prod"


class Result:
    """A Dagster run that has ended, read from the event log."""

    def __init__(self, instance: dg.DagsterInstance, run_id: str) -> None:
        self.instance = instance
        self.run_id = run_id
        run = instance.get_run_by_id(run_id)
        assert run is not None
        self.run = run
        self.status = run.status.value
        self.tags = run.tags
        self.entries = instance.all_logs(run_id)

    @property
    def success(self) -> bool:
        return self.status == "SUCCESS"

    def events(self, kind: str, step: str | None = None) -> list[Any]:
        return [
            entry
            for entry in self.entries
            if entry.dagster_event
            and entry.dagster_event.event_type_value == kind
            and (step is None or entry.step_key == step)
        ]

    def steps(self) -> dict[str, str]:
        """How each step ended."""
        ends = {"STEP_SUCCESS": "success", "STEP_FAILURE": "failure", "STEP_SKIPPED": "skipped"}
        return {
            entry.step_key: ends[entry.dagster_event.event_type_value]
            for entry in self.entries
            if entry.dagster_event and entry.dagster_event.event_type_value in ends and entry.step_key
        }

    def failure(self, step: str) -> Any:
        """What a step failed with."""
        (entry,) = self.events("STEP_FAILURE", step)
        data = entry.dagster_event.step_failure_data
        return data.user_failure_data or data.error

    def run_failure(self) -> str:
        (entry,) = self.events("PIPELINE_FAILURE")
        data = entry.dagster_event.job_failure_data
        return f"{entry.dagster_event.message} {data.error.message if data and data.error else ''}"

    def materializations(self, step: str | None = None) -> dict[str, dict[str, Any]]:
        """Metadata by asset; one event for each asset."""
        found: dict[str, dict[str, Any]] = {}
        for entry in self.events("ASSET_MATERIALIZATION", step):
            materialization = entry.dagster_event.step_materialization_data.materialization
            name = materialization.asset_key.to_user_string()
            assert name not in found, f"{name} is materialized twice"
            found[name] = values(materialization.metadata)
        return found

    def checks(self, step: str | None = None) -> dict[tuple[str, str], Any]:
        return {
            (data.asset_key.to_user_string(), data.check_name): data
            for entry in self.events("ASSET_CHECK_EVALUATION", step)
            for data in [entry.dagster_event.event_specific_data]
        }

    def log(self, step: str | None = None) -> str:
        return "\n".join(
            f"{entry.level} {entry.user_message or entry.message}"
            for entry in self.entries
            if step is None or entry.step_key == step
        )


def values(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.value for key, value in metadata.items()}


def run_job(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str = MIRROR,
    config: dict[str, Any] | None = None,
    **tags: str,
) -> Result:
    """Runs the job with its own executor, in this process."""
    job_def = definitions.get_job_def(job)
    run = instance.create_run_for_job(job_def, run_config=config or {}, tags={**job_def.run_tags, **tags})
    execute_run(InMemoryJob(job_def), run, instance)
    return Result(instance, run.run_id)


def run_in_process(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    job: str = MIRROR,
    config: dict[str, Any] | None = None,
    **tags: str,
) -> Result:
    """Runs the job with Dagster's in-process executor: each op works for itself."""
    result = definitions.get_job_def(job).execute_in_process(
        run_config=config, instance=instance, raise_on_error=False, tags=tags
    )
    return Result(instance, result.run_id)


# The mirror's own executor, and another one.
EACH_EXECUTOR = pytest.mark.parametrize("run_it", [run_job, run_in_process], ids=["own", "other"])


def steps_with(instance: dg.DagsterInstance, *kinds: str) -> set[str | None]:
    """The steps that have such an event by now, in the newest run."""
    runs = instance.get_runs(limit=1)
    wanted = {dg.DagsterEventType(kind) for kind in kinds}
    return {entry.step_key for entry in instance.all_logs(runs[0].run_id, of_type=wanted)} if runs else set()


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Does `work` beside the block; what goes wrong there is raised here."""
    trouble: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            trouble.append(error)

    thread = threading.Thread(target=guarded)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if trouble:
        raise trouble[0]


def check_status(instance: dg.DagsterInstance, key: str, check: str) -> str | None:
    """What Dagster's pages show of a check."""
    check_key = dg.AssetCheckKey(dg.AssetKey(key.split("/")), check)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check_key]).get(check_key)
    return record.status.value if record else None


def check_metadata(instance: dg.DagsterInstance, key: str, check: str) -> dict[str, Any]:
    check_key = dg.AssetCheckKey(dg.AssetKey(key.split("/")), check)
    record = instance.event_log_storage.get_latest_asset_check_execution_by_key([check_key])[check_key]
    return values(record.event.dagster_event.event_specific_data.metadata)


def latest(instance: dg.DagsterInstance, key: str) -> dict[str, Any] | None:
    """The metadata of an asset's latest materialization."""
    event = instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    return values(event.asset_materialization.metadata) if event and event.asset_materialization else None


def count(instance: dg.DagsterInstance, key: str) -> int:
    """How often an asset was materialized."""
    records = instance.fetch_materializations(dg.AssetKey(key.split("/")), limit=1000).records
    return len(records)
