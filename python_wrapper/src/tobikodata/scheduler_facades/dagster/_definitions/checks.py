"""The asset checks: one for each audit of each model. The mirror and the sync report their results.

Executed by hand, a check reports the newest result of the cloud again. It never hides an earlier result: if the cloud
has none, or is unreachable, the last result in Dagster is reported again.

A translator may let checks block. Dagster fails the step of such a check, 1.9.1 at the first one: those that come after
it would get no result. So failed ones are written past Dagster's handling, and the step fails when all are written.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone

import dagster as dg

from .._environment import Environment
from .._errors import TobikoFacadeError
from .._events.latest import last_evaluation
from .._events.messages import TIMESTAMP_OF_CHECK, CheckResult, TaskResult, number_of
from .._launch import executable
from .specs import DeclaredCheck


def checks_of(environment: Environment, declared: Sequence[DeclaredCheck]) -> list[dg.AssetChecksDefinition]:
    """At most one definition, with all checks of the environment; none if it has no audits."""
    # Nothing here is called `check`: Dagster 1.11 would take it for its own module of that name.
    specs = [one.spec for one in declared]
    if not specs:
        return []
    node_of = {one.spec.key: one.node for one in declared}
    blocking = {spec.key for spec in specs if spec.blocking}
    # `multi_asset_check` derives the names of outputs from the keys: it rejects unusual ones, and loses one of two that
    # become the same. Numbers avoid both. It also declares an input for each asset: the step needs none of them, and
    # loading would take Dagster a time that grows with their number times that of the checks.
    outputs = {f"check_{at}": spec for at, spec in enumerate(specs)}

    @dg.op(
        name=f"tobiko_cloud_checks_{environment.identifier}",
        description=f"Reports the newest results of audits in {environment.manifest.cloud}. Nothing is run remotely.",
        out={name: dg.Out(dg.Nothing, is_required=False) for name in outputs},
    )
    def report_again(context):  # type: ignore[no-untyped-def]  # Dagster takes no postponed annotation here
        op_context: dg.OpExecutionContext = context.op_execution_context
        wanted = set(op_context.selected_asset_check_keys)
        failure: Exception | None = None
        try:
            newest = _fetch(op_context, environment, sorted({node_of[key] for key in wanted}))
        except TobikoFacadeError as error:
            newest, failure = {}, error
        blocked: list[str] = []
        for key in sorted(wanted, key=str):
            latest = newest.get(key)
            result = _again(latest) if latest else _as_before(op_context, environment.manifest.cloud, key, failure)
            if result is None:
                continue
            if key in blocking and not result.passed and result.severity == dg.AssetCheckSeverity.ERROR:
                _write(result, op_context)
                blocked.append(f"{key.name} on {key.asset_key.to_user_string()}")
            else:
                yield result
        if blocked:
            texts = [*([str(failure)] if failure else []), f"blocking checks failed: {', '.join(blocked)}"]
            raise dg.Failure("\n".join(texts), allow_retries=False) from None
        if failure:
            raise dg.Failure(str(failure), allow_retries=False) from None

    return [
        dg.AssetChecksDefinition.create(
            keys_by_input_name={},
            node_def=report_again,
            check_specs_by_output_name=outputs,
            can_subset=True,
        )
    ]


def _fetch(
    context: dg.OpExecutionContext, environment: Environment, nodes: list[str]
) -> dict[dg.AssetCheckKey, CheckResult]:
    arguments = [
        "sync",
        *executable.where(environment.name, environment.asset_prefix),
        *(f"--node={node}" for node in nodes),
    ]
    newest: dict[dg.AssetCheckKey, CheckResult] = {}
    with environment.launch(arguments, context) as launched:
        for event in (event for events in launched.batches() for event in events):
            if isinstance(event, TaskResult):
                newest.update((result.key, result) for result in event.checks)
        reason = launched.incomplete_reason()
    if reason:
        raise TobikoFacadeError(reason) from None
    return newest


def _again(result: CheckResult) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=result.passed,
        asset_key=result.key.asset_key,
        check_name=result.key.name,
        severity=result.severity,
        metadata=dict(result.metadata),
        description=_measured(result.timestamp),
    )


def _measured(at: float | None) -> str:
    """The event's own time is that of the click."""
    if at is None:
        return "Reported again; the cloud does not say when it was measured."
    return f"Measured {datetime.fromtimestamp(at, timezone.utc):%Y-%m-%d %H:%M:%S} UTC, reported again."


def _write(result: dg.AssetCheckResult, context: dg.OpExecutionContext) -> None:
    """Without the output that what is downstream of a blocking check waits for."""
    step_context = context.get_step_execution_context()
    dg.DagsterEvent.asset_check_evaluation(step_context, result.to_asset_check_evaluation(step_context))


def _as_before(
    context: dg.OpExecutionContext, cloud: str, key: dg.AssetCheckKey, failure: Exception | None
) -> dg.AssetCheckResult | None:
    """The last result in Dagster, if there is one."""
    name = f"check {key.name} on {key.asset_key.to_user_string()}"
    if not failure:
        context.log.info(f"{cloud} has no result for {name}")
    before = last_evaluation(context.instance, key)
    if not before:
        return None
    evaluation, record = before
    context.log.info(f"the last result of {name}, of run {record.run_id or '(none)'}, is reported again")
    return dg.AssetCheckResult(
        passed=evaluation.passed,
        asset_key=key.asset_key,
        check_name=key.name,
        severity=evaluation.severity,
        metadata=dict(evaluation.metadata),
        description=_measured(number_of(evaluation.metadata, TIMESTAMP_OF_CHECK)),
    )
