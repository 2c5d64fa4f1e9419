"""The hooks: which of SQLMesh's methods are wrapped, and what is recorded before and after each call.

The methods have kept their names and leading arguments since SQLMesh 0.142; with a version that lacks one,
only what that one reports is lost.
"""

from __future__ import annotations

import os
import uuid

from ._evaluation import Batch, Evaluation
from ._formatting import causes, errors_in, node_name
from ._guard import forget_failures, safely
from ._process import (
    Plan,
    SchedulerPass,
    current_evaluation,
    current_recording,
    enter,
    leave,
    open_recording,
    process,
    set_current_evaluation,
)
from ._recording import Recording
from ._wrapping import Call, Hook, Outcome, unwrap_all, wrap


def install() -> None:
    """Wraps SQLMesh's methods in this process. Installing twice has no further effect."""
    if os.environ.get("TOBIKO_RECORDER", "").strip().lower() in ("off", "0", "false", "no"):
        return
    for hook in HOOKS:
        safely(wrap, hook)


def uninstall() -> None:
    """Restores SQLMesh's own methods and ends the delivery; for tests."""
    unwrap_all()
    if process.delivery is not None:
        process.delivery.close()
    process.reset()
    forget_failures()


def _before_run(_: Call) -> Recording | None:
    recording = open_recording("run", uuid.uuid4().hex)
    if recording is not None:
        enter(recording)
    return recording


def _after_run(recording: Recording, outcome: Outcome) -> None:
    leave(recording)
    failed = outcome.result is False or bool(getattr(outcome.result, "is_failure", False))
    recording.end(failed, outcome.error)


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
    for snapshot, intervals in (outcome.result or {}).items():
        for start, end in intervals:
            this.recording.schedule(Batch(snapshot, this.version(snapshot), start, end))


def _before_evaluation(call: Call) -> tuple[Recording, Evaluation] | None:
    this = process.passes.get(id(call.owner))
    if this is None:
        return None
    snapshot, number = call.argument(0, "snapshot"), (call.argument(5, "batch_index") or 0) + 1
    start, end = call.argument(1, "start"), call.argument(2, "end")
    batch = Batch(snapshot, this.version(snapshot), start, end, number)
    tracker = getattr(this.scheduler.snapshot_evaluator, "execution_tracker", None)
    current = this.recording, this.recording.start(batch, tracker)
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
        current = this.recording, this.recording.start(batch, only_audits=True)
        set_current_evaluation(current)
    return current


def _after_audits(current: tuple[Recording, Evaluation], outcome: Outcome) -> None:
    recording, evaluation = current
    for result in outcome.result or ():
        safely(recording.put_audit, evaluation, result)
    if evaluation.only_audits:
        _after_evaluation(current, outcome)


def _before_one_audit(call: Call) -> tuple[Recording, Evaluation] | None:
    return current_evaluation(call.argument(2, "snapshot"))


def _after_one_audit(current: tuple[Recording, Evaluation], outcome: Outcome) -> None:
    # In addition to `audit`, which returns nothing if a later audit's query fails.
    if outcome.error is None:
        recording, evaluation = current
        recording.put_audit(evaluation, outcome.result)


_SCHEDULER, _EVALUATOR = "sqlmesh.core.scheduler", "sqlmesh.core.snapshot.evaluator"
HOOKS = [
    Hook("sqlmesh.core.context", "GenericContext", "run", _before_run, _after_run),
    Hook("sqlmesh.core.plan.evaluator", "BuiltInPlanEvaluator", "evaluate", _before_plan, _after_plan),
    Hook(_SCHEDULER, "Scheduler", "run_merged_intervals", _before_pass, _after_pass),
    Hook(_SCHEDULER, "Scheduler", "batch_intervals", _before_batching, _after_batching),
    Hook(_SCHEDULER, "Scheduler", "evaluate", _before_evaluation, _after_evaluation),
    Hook(_EVALUATOR, "SnapshotEvaluator", "audit", _before_audits, _after_audits),
    Hook(_EVALUATOR, "SnapshotEvaluator", "_audit", _before_one_audit, _after_one_audit),
]
