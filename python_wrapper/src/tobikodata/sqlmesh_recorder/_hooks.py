"""The hooks: which of SQLMesh's methods are wrapped, and what is recorded before and after each call.

The methods have kept their names and leading arguments since SQLMesh 0.142; with a version that lacks one,
only what that one reports is lost.
"""

from __future__ import annotations

import importlib
import os
import time
import uuid
from collections.abc import Mapping
from typing import Any

from ._evaluation import AuditCall, Batch, Evaluation
from ._formatting import arguments_text, causes, errors_in, node_name
from ._guard import forget_failures, safely
from ._process import (
    Operation,
    Plan,
    SchedulerPass,
    current_evaluation,
    current_operation,
    current_recording,
    enter,
    enter_operation,
    leave,
    leave_operation,
    open_delivery,
    open_recording,
    process,
    set_current_evaluation,
)
from ._project import project_fields
from ._recording import Recording
from ._wrapping import Call, Hook, Outcome, unwrap_all, wrap


def install() -> None:
    """Wraps SQLMesh's methods in this process. Installing twice has no further effect."""
    if os.environ.get("TOBIKO_RECORDER", "").strip().lower() in ("off", "0", "false", "no"):
        return
    process.is_installed = True
    for hook in HOOKS:
        safely(wrap, hook)


def uninstall() -> None:
    """Restores SQLMesh's own methods and ends the delivery; for tests."""
    unwrap_all()
    if process.delivery is not None:
        process.delivery.close()
    process.reset()
    forget_failures()


def _before_run(call: Call) -> tuple[Operation, Recording | None]:
    operation = enter_operation("run", _project_of(call), _requested_environment(call))
    recording = open_recording("run", uuid.uuid4().hex)
    if recording is not None:
        recording.environment = operation.environment
        enter(recording)
    return operation, recording


def _after_run(state: tuple[Operation, Recording | None], outcome: Outcome) -> None:
    operation, recording = state
    leave_operation(operation)
    if recording is not None:
        leave(recording)
        failed = outcome.result is False or bool(getattr(outcome.result, "is_failure", False))
        recording.end(failed, outcome.error)


def _before_planning(call: Call) -> Operation | None:
    if call.kwargs.get("explain"):
        return None  # nothing is applied
    return enter_operation("plan", _project_of(call), _requested_environment(call))


def _before_apply(call: Call) -> Operation | None:
    plan = call.argument(0, "plan")
    if getattr(plan, "explain", False):
        return None
    return enter_operation("plan", _project_of(call), plan.environment_naming_info.name, str(plan.plan_id))


def _after_planning(operation: Operation, outcome: Outcome) -> None:
    """Records a plan that failed before SQLMesh's plan evaluator was called."""
    leave_operation(operation)
    error = outcome.error
    if not isinstance(error, Exception) or operation.is_recorded or type(error).__name__ == "NoChangesPlanError":
        return
    key = operation.plan_id or uuid.uuid4().hex
    recording = open_recording("plan", key, operation.project, operation.started_at)
    if recording is not None:
        recording.environment = operation.environment
        recording.end(True, error)


def _before_invalidation(call: Call) -> Operation:
    name = sanitized(str(call.argument(0, "name")))
    return enter_operation("other", _project_of(call), name)


def _after_invalidation(operation: Operation, outcome: Outcome) -> None:
    leave_operation(operation)
    if outcome.error is None:
        _put_deleted(operation.environment, operation.project)


def _before_janitor(call: Call) -> Operation:
    return enter_operation("other", _project_of(call), "")


def _after_janitor(operation: Operation, _: Outcome) -> None:
    leave_operation(operation)


def _before_expiry(_: Call) -> Mapping[str, Any]:
    operation = current_operation()
    return operation.project if operation is not None else {}


def _after_expiry(project: Mapping[str, Any], outcome: Outcome) -> None:
    for environment in outcome.result or ():
        _put_deleted(environment.name, project)


def _put_deleted(environment: str, project: Mapping[str, Any]) -> None:
    delivery = open_delivery()
    if delivery is not None:
        delivery.put({"type": "environment_deleted", **project, "environment": environment})


def _project_of(call: Call) -> Mapping[str, Any]:
    return safely(project_fields, call.owner.configs, call.owner.gateway) or {}


def _requested_environment(call: Call) -> str:
    default = getattr(call.owner.config, "default_target_environment", None)
    return sanitized(call.argument(0, "environment") or default or "prod")


def sanitized(environment: str) -> str:
    return str(importlib.import_module("sqlmesh.core.environment").Environment.sanitize_name(environment))


def _before_plan(call: Call) -> Plan | None:
    plan = call.argument(0, "plan")
    recording = open_recording("plan", str(plan.plan_id))
    if recording is None:
        return None
    recording.environment = plan.environment.name
    recording.report_start()
    enter(recording)
    return Plan(recording, plan, call.owner)


def _after_plan(this: Plan, outcome: Outcome) -> None:
    leave(this.recording)
    if outcome.error is None:
        safely(this.put_environment)
    # Tables that can't be created end a plan before its evaluations: the errors are attached to the exception.
    for cause in causes(outcome.error):
        for error in errors_in(cause) or [cause]:
            if hasattr(error, "node"):
                safely(this.recording.fail_unevaluated, error, this.find_node)
    this.recording.end(False, outcome.error)


def _before_pass(call: Call) -> SchedulerPass | None:
    recording = current_recording()
    if recording is None:
        return None
    index, audit_only = call.kwargs["deployability_index"], bool(call.kwargs.get("audit_only"))
    this = SchedulerPass(recording, call.owner, index, audit_only)
    recording.environment = call.kwargs["environment_naming_info"].name
    recording.had_work = True
    if recording.kind == "run":
        safely(this.put_environment)
    process.passes[id(this.scheduler)] = this
    if this.audit_only:
        process.passes[id(this.scheduler.snapshot_evaluator)] = this
    return this


def _after_pass(this: SchedulerPass, outcome: Outcome) -> None:
    process.passes.pop(id(this.scheduler), None)
    process.passes.pop(id(this.scheduler.snapshot_evaluator), None)
    if outcome.error is None:
        errors, skipped = outcome.result
        for error in errors:
            safely(this.recording.fail_unevaluated, error, this.find_node)
        this.recording.skipped |= {node_name(unit) for unit in skipped}


def _before_batching(call: Call) -> SchedulerPass | None:
    return process.passes.get(id(call.owner))


def _after_batching(this: SchedulerPass, outcome: Outcome) -> None:
    this.recording.schedule(
        [
            Batch(snapshot, this.version(snapshot), start, end)
            for snapshot, intervals in (outcome.result or {}).items()
            for start, end in intervals
        ]
    )


def _before_evaluation(call: Call) -> tuple[Recording, Evaluation] | None:
    this = process.passes.get(id(call.owner))
    if this is None:
        return None
    snapshot, number = call.argument(0, "snapshot"), (call.argument(5, "batch_index") or 0) + 1
    start, end = call.argument(1, "start"), call.argument(2, "end")
    batch = Batch(snapshot, this.version(snapshot), start, end, number)
    tracker = getattr(this.scheduler.snapshot_evaluator, "execution_tracker", None)
    # SQLMesh has nothing to load for such a model (an external one), and evaluates it for its audits.
    current = this.recording, this.recording.start(batch, tracker, only_audits=bool(snapshot.is_symbolic))
    set_current_evaluation(current)
    return current


def _after_evaluation(current: tuple[Recording, Evaluation], outcome: Outcome) -> None:
    set_current_evaluation(None)
    recording, evaluation = current
    recording.finish(evaluation, outcome.error)


def _before_audits(call: Call) -> tuple[Recording, Evaluation] | None:
    snapshot = call.argument(0, "snapshot")
    current = current_evaluation(snapshot)
    this = process.passes.get(id(call.owner))
    if current is None and this is not None:
        # A plan that changed only audits runs them without evaluating the model.
        batch = Batch(snapshot, this.version(snapshot), call.kwargs.get("start"), call.kwargs.get("end"))
        current = this.recording, this.recording.start(batch, only_audits=True, ends_with_audits=True)
        set_current_evaluation(current)
    return current


def _after_audits(current: tuple[Recording, Evaluation], outcome: Outcome) -> None:
    recording, evaluation = current
    for result in outcome.result or ():
        safely(recording.put_audit, evaluation, result)
    if evaluation.ends_with_audits:
        _after_evaluation(current, outcome)


def _before_one_audit(call: Call) -> tuple[Recording, Evaluation, str | None, float] | None:
    current = current_evaluation(call.argument(2, "snapshot"))
    if current is None:
        return None
    # Before the call, which may change them.
    return *current, safely(arguments_text, call.argument(1, "audit_args")), time.monotonic()


def _after_one_audit(state: tuple[Recording, Evaluation, str | None, float], outcome: Outcome) -> None:
    # In addition to `audit`, which returns nothing if a later audit's query fails, and knows no durations.
    if outcome.error is None:
        recording, evaluation, arguments, started_s = state
        duration_s = round(time.monotonic() - started_s, 6)
        recording.put_audit(evaluation, outcome.result, AuditCall(arguments, duration_s))


_CONTEXT, _STATE = "sqlmesh.core.context", "sqlmesh.core.state_sync"
_SCHEDULER, _EVALUATOR = "sqlmesh.core.scheduler", "sqlmesh.core.snapshot.evaluator"
HOOKS = [
    Hook(_CONTEXT, "GenericContext", "run", _before_run, _after_run),
    Hook(_CONTEXT, "GenericContext", "plan", _before_planning, _after_planning),
    Hook(_CONTEXT, "GenericContext", "plan_builder", _before_planning, _after_planning),  # what sqlmesh_dbt calls
    Hook(_CONTEXT, "GenericContext", "apply", _before_apply, _after_planning),
    Hook(_CONTEXT, "GenericContext", "invalidate_environment", _before_invalidation, _after_invalidation),
    Hook(_CONTEXT, "GenericContext", "run_janitor", _before_janitor, _after_janitor),
    Hook(_STATE, "EngineAdapterStateSync", "delete_expired_environments", _before_expiry, _after_expiry),
    Hook("sqlmesh.core.plan.evaluator", "BuiltInPlanEvaluator", "evaluate", _before_plan, _after_plan),
    Hook(_SCHEDULER, "Scheduler", "run_merged_intervals", _before_pass, _after_pass),
    Hook(_SCHEDULER, "Scheduler", "batch_intervals", _before_batching, _after_batching),
    Hook(_SCHEDULER, "Scheduler", "evaluate", _before_evaluation, _after_evaluation),
    Hook(_EVALUATOR, "SnapshotEvaluator", "audit", _before_audits, _after_audits),
    Hook(_EVALUATOR, "SnapshotEvaluator", "_audit", _before_one_audit, _after_one_audit),
]
