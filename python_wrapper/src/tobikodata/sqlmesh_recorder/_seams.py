"""The seams: SQLMesh's methods that are wrapped, and what is noted before and after each.

They have kept their names and leading arguments since SQLMesh 0.142; a version that has lost one loses only
what that one tells.
"""

from __future__ import annotations

import uuid

from ._batch import Batch
from ._errors import chain, errors_in
from ._evaluation import Evaluation
from ._guard import safely
from ._names import node_name
from ._pass import Pass
from ._plan import Plan
from ._process import current_recording, enter, evaluating, evaluation_here, leave, open_recording, process
from ._recording import Recording
from ._wrapping import Call, Outcome, Seam


def _run_begins(_: Call) -> Recording | None:
    recording = open_recording("run", uuid.uuid4().hex)
    if recording is not None:
        enter(recording)
    return recording


def _run_ends(recording: Recording, outcome: Outcome) -> None:
    leave(recording)
    failed = outcome.result is False or bool(getattr(outcome.result, "is_failure", False))
    recording.end(failed, outcome.error)


def _plan_begins(call: Call) -> Plan | None:
    plan = call.argument(0, "plan")
    recording = open_recording("plan", str(plan.plan_id))
    if recording is None:
        return None
    recording.environment = plan.environment.name
    recording.tell()
    enter(recording)
    return Plan(recording, plan, call.owner)


def _plan_ends(this: Plan, outcome: Outcome) -> None:
    leave(this.recording)
    if outcome.error is None:
        safely(this.tell_environment)
    # Tables that can't be created end a plan before its evaluations: the errors hang on the exception.
    for link in chain(outcome.error):
        for error in errors_in(link) or [link]:
            if hasattr(error, "node"):
                safely(this.recording.fail_unevaluated, error, this.known_as)
    this.recording.end(False, outcome.error)


def _pass_begins(call: Call) -> Pass | None:
    recording = current_recording()
    if recording is None:
        return None
    index, audit_only = call.kwargs["deployability_index"], bool(call.kwargs.get("audit_only"))
    this = Pass(recording, call.owner, index, audit_only)
    recording.environment = call.kwargs["environment_naming_info"].name
    recording.was_due = True
    if recording.kind == "run":
        safely(this.tell_environment)
    process.passes[id(this.scheduler)] = this
    if this.audit_only:
        process.passes[id(this.scheduler.snapshot_evaluator)] = this
    return this


def _pass_ends(this: Pass, outcome: Outcome) -> None:
    process.passes.pop(id(this.scheduler), None)
    process.passes.pop(id(this.scheduler.snapshot_evaluator), None)
    if outcome.error is None:
        errors, skipped = outcome.result
        for error in errors:
            safely(this.recording.fail_unevaluated, error, this.known_as)
        this.recording.skipped |= {node_name(unit) for unit in skipped}


def _batching_begins(call: Call) -> Pass | None:
    return process.passes.get(id(call.owner))


def _batching_ends(this: Pass, outcome: Outcome) -> None:
    for snapshot, intervals in (outcome.result or {}).items():
        for start, end in intervals:
            this.recording.schedule(Batch(snapshot, this.version(snapshot), start, end))


def _evaluation_begins(call: Call) -> Evaluation | None:
    this = process.passes.get(id(call.owner))
    if this is None:
        return None
    snapshot, number = call.argument(0, "snapshot"), (call.argument(5, "batch_index") or 0) + 1
    start, end = call.argument(1, "start"), call.argument(2, "end")
    batch = Batch(snapshot, this.version(snapshot), start, end, number)
    tracker = getattr(this.scheduler.snapshot_evaluator, "execution_tracker", None)
    evaluation = this.recording.start(batch, tracker)
    evaluating(evaluation)
    return evaluation


def _evaluation_ends(evaluation: Evaluation, outcome: Outcome) -> None:
    evaluating(None)
    evaluation.recording.finish(evaluation, outcome.error)


def _audits_begin(call: Call) -> Evaluation | None:
    snapshot = call.argument(0, "snapshot")
    evaluation = evaluation_here(snapshot)
    this = process.passes.get(id(call.owner))
    if evaluation is None and this is not None:
        # A plan that changed nothing but audits runs them without evaluating the model.
        batch = Batch(snapshot, this.version(snapshot), call.kwargs.get("start"), call.kwargs.get("end"))
        evaluation = this.recording.start(batch, only_audits=True)
        evaluating(evaluation)
    return evaluation


def _audits_end(evaluation: Evaluation, outcome: Outcome) -> None:
    for result in outcome.result or ():
        safely(evaluation.note_audit, result)
    if evaluation.only_audits:
        _evaluation_ends(evaluation, outcome)


def _one_audit_begins(call: Call) -> Evaluation | None:
    return evaluation_here(call.argument(2, "snapshot"))


def _one_audit_ends(evaluation: Evaluation, outcome: Outcome) -> None:
    # Beside `audit` for those that ran before one whose query breaks: `audit` itself then returns nothing.
    if outcome.error is None:
        evaluation.note_audit(outcome.result)


_SCHEDULER, _EVALUATOR = "sqlmesh.core.scheduler", "sqlmesh.core.snapshot.evaluator"
SEAMS = [
    Seam("sqlmesh.core.context", "GenericContext", "run", _run_begins, _run_ends),
    Seam("sqlmesh.core.plan.evaluator", "BuiltInPlanEvaluator", "evaluate", _plan_begins, _plan_ends),
    Seam(_SCHEDULER, "Scheduler", "run_merged_intervals", _pass_begins, _pass_ends),
    Seam(_SCHEDULER, "Scheduler", "batch_intervals", _batching_begins, _batching_ends),
    Seam(_SCHEDULER, "Scheduler", "evaluate", _evaluation_begins, _evaluation_ends),
    Seam(_EVALUATOR, "SnapshotEvaluator", "audit", _audits_begin, _audits_end),
    Seam(_EVALUATOR, "SnapshotEvaluator", "_audit", _one_audit_begins, _one_audit_ends),
]
