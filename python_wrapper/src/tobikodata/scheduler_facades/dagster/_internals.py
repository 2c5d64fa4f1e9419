"""Every import from Dagster's private modules, each with its reason.

Tried on 1.9.1 (the oldest supported) and 1.13.27. No other file of this package imports from `dagster._*`.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from typing import Any

import dagster as dg

# Events that no public call puts on a run: check evaluations from an op (1.9.1 refuses them), asset
# events of a run that belong to no step, and that an asset is about to be materialized.
from dagster._core.definitions import AssetCheckEvaluation

# Run and step workers get the manifest that the code server loaded: they send no request to the cloud.
from dagster._core.definitions.definitions_load_context import (
    DefinitionsLoadContext,
    DefinitionsLoadType,
    StateBackedDefinitionsLoader,
)
from dagster._core.events import AssetMaterializationPlannedData, StepMaterializationData

# The executor: one process for all steps, which start and end as their tasks are reported. Dagster's public
# executors run steps one after the other, or each in a process of its own.
from dagster._core.execution.api import ExecuteRunWithPlanIterable, create_execution_plan
from dagster._core.execution.context.system import PlanExecutionContext, StepExecutionContext
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.active import ActiveExecution
from dagster._core.execution.plan.execute_plan import _trigger_hook as trigger_hooks
from dagster._core.execution.plan.execute_plan import dagster_event_sequence_for_step
from dagster._core.execution.plan.objects import StepFailureData, StepSuccessData, UserFailureData
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.execution.plan.step import ExecutionStep
from dagster._core.execution.retries import RetryMode

# Whether a run's worker is still alive, where the run launcher can report.
from dagster._core.launcher.base import WorkerStatus

# The library versions that Dagster shows of a code location.
from dagster._core.libraries import DagsterLibraryRegistry

# A run that nobody executed, written as it would stand there if somebody had.
from dagster._core.snap import create_execution_plan_snapshot_id, snapshot_from_execution_plan

# The run's compute log, written without redirecting the process's own streams.
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType

try:  # 1.13
    from dagster._core.definitions.asset_checks.asset_check_evaluation import (
        AssetCheckEvaluationPlanned,
        AssetCheckEvaluationTargetMaterializationData,
    )
except ImportError:  # 1.9.1 to 1.12
    from dagster._core.definitions.asset_check_evaluation import (  # type: ignore[no-redef, import-not-found]
        AssetCheckEvaluationPlanned,
        AssetCheckEvaluationTargetMaterializationData,
    )

# From 1.12, for the component: where state is stored, set for as long as the sensor refreshes it.
try:
    from dagster_shared.serdes.objects.models.defs_state_info import DefsStateManagementType

    from dagster._core.storage.defs_state.base import set_defs_state_storage
except ImportError:
    set_defs_state_storage = DefsStateManagementType = None  # type: ignore[assignment, misc]

from packaging.version import Version

# What the ticks of a cron are; Dagster has it for its schedules.
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_string

# Before 1.10.14 (1.10.0 still), an evaluation on a run stays invisible unless it was planned there first.
CHECKS_NEED_PLANNED = Version(dg.__version__) < Version("1.10.14")

# Since 1.10.14, an event may be reported with the time at which it happened; no public call takes one.
EVENTS_HAVE_TIMES = "timestamp" in inspect.signature(dg.DagsterInstance.report_dagster_event).parameters
if not EVENTS_HAVE_TIMES:
    logging.getLogger(__name__).debug(
        "Dagster %s takes no time for an event: each has that of its writing; the true one is in its metadata",
        dg.__version__,
    )

# Since 1.10, a dep may carry the name of a table, by which Dagster finds the asset that loads it.
DEPS_HAVE_METADATA = "metadata" in inspect.signature(dg.AssetDep.__new__).parameters
if not DEPS_HAVE_METADATA:
    logging.getLogger(__name__).debug(
        "Dagster %s finds no asset by the name of its table: map external models by external_asset_keys", dg.__version__
    )


def asset_dep(key: dg.AssetKey, partition_mapping: Any, table_name: str | None) -> dg.AssetDep:
    """A dep; `table_name` only where deps have metadata."""
    more: dict[str, Any] = {"metadata": {"dagster/table_name": table_name}} if table_name else {}
    return dg.AssetDep(key, partition_mapping=partition_mapping, **more)


# Since 1.12, a policy may be a time window, and is given to an asset's spec.
HAS_FRESHNESS_POLICIES = hasattr(getattr(dg, "FreshnessPolicy", None), "time_window")


# Since 1.10.14, a run may be stored that was created earlier. By version: importing Dagster's storages takes long.
HAS_HISTORICAL_RUNS = Version(dg.__version__) >= Version("1.10.14")


def wiped_at(instance: dg.DagsterInstance, keys: Sequence[dg.AssetKey]) -> dict[dg.AssetKey, float]:
    """When these assets' materializations were wiped, in epoch seconds; without those that never were.

    Dagster hides a wiped asset from every public call until it has a younger event. A storage that does not keep these
    times beside its assets (Dagster+) answers nothing.
    """
    details_of: Any = getattr(instance.event_log_storage, "_get_assets_details", None)
    if details_of is None or not keys:
        return {}
    return {
        key: details.last_wipe_timestamp
        for key, details in zip(keys, details_of(keys))
        if details is not None and details.last_wipe_timestamp
    }


def replace_attributes(spec: dg.AssetSpec, **changes: Any) -> dg.AssetSpec:
    """The spec with other attributes, which must be such as a spec has: they are not checked again.

    The public method of newer versions makes a new spec, which takes as long as declaring the model did. A spec is a
    named tuple in all versions so far.
    """
    replace: Any = getattr(spec, "_replace", None) or spec.replace_attributes
    return replace(**changes)  # type: ignore[no-any-return]


def stored_snapshots(instance: dg.DagsterInstance, job: dg.JobDefinition, plan: ExecutionPlan) -> tuple[str, str]:
    """The ids of the job's snapshot and of its plan's. Both are stored, as they are when Dagster creates a run."""
    storage, job_id = instance.run_storage, job.get_job_snapshot_id()
    if not storage.has_job_snapshot(job_id):
        storage.add_job_snapshot(job.get_job_snapshot())
    snapshot = snapshot_from_execution_plan(plan, job_id)
    plan_id = create_execution_plan_snapshot_id(snapshot)
    if not storage.has_execution_plan_snapshot(plan_id):
        storage.add_execution_plan_snapshot(snapshot)
    return job_id, plan_id


def is_postgres_event_log(storage: Any) -> bool:
    """Whether it is Dagster's own event log in PostgreSQL. That package need not be installed."""
    kind = type(storage)
    return kind.__name__ == "PostgresEventLogStorage" and kind.__module__.startswith("dagster_postgres.")


def is_sqlite_event_log(storage: Any) -> bool:
    """Whether it is Dagster's own event log in SQLite files."""
    kind = type(storage)
    return kind.__name__ == "SqliteEventLogStorage" and kind.__module__.startswith("dagster.")


def is_no_postgres_connection(error: BaseException) -> bool:
    """Whether Dagster has given up connecting to PostgreSQL, which it tries for a few seconds."""
    kind = type(error)
    return kind.__name__ == "DagsterPostgresException" and kind.__module__.startswith("dagster_postgres.")


def event_table() -> Any:
    """The table of the event log, of SQLAlchemy."""
    from dagster._core.storage.event_log.schema import SqlEventLogStorageTable

    return SqlEventLogStorageTable


def check_table() -> Any:
    """The table of check results, of SQLAlchemy."""
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable

    return AssetCheckExecutionsTable


__all__ = [
    "CHECKS_NEED_PLANNED",
    "DEPS_HAVE_METADATA",
    "EVENTS_HAVE_TIMES",
    "HAS_FRESHNESS_POLICIES",
    "HAS_HISTORICAL_RUNS",
    "ActiveExecution",
    "AssetCheckEvaluation",
    "AssetCheckEvaluationPlanned",
    "AssetCheckEvaluationTargetMaterializationData",
    "AssetMaterializationPlannedData",
    "CapturedLogContext",
    "ComputeIOType",
    "DagsterLibraryRegistry",
    "DefinitionsLoadContext",
    "DefinitionsLoadType",
    "DefsStateManagementType",
    "ExecuteRunWithPlanIterable",
    "ExecutionPlan",
    "ExecutionStep",
    "PlanExecutionContext",
    "PlanExecutionContextManager",
    "RetryMode",
    "StateBackedDefinitionsLoader",
    "StepExecutionContext",
    "StepFailureData",
    "StepMaterializationData",
    "StepSuccessData",
    "UserFailureData",
    "WorkerStatus",
    "asset_dep",
    "check_table",
    "create_execution_plan",
    "cron_string_iterator",
    "dagster_event_sequence_for_step",
    "event_table",
    "is_no_postgres_connection",
    "is_postgres_event_log",
    "is_sqlite_event_log",
    "is_valid_cron_string",
    "replace_attributes",
    "set_defs_state_storage",
    "stored_snapshots",
    "trigger_hooks",
    "wiped_at",
]
