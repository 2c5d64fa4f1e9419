"""The two jobs: `sync` copies the current state of an environment, `mirror` follows one remote run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg

from .. import _internals
from .._environment import ENVIRONMENT_TAG, MIRROR_COMPLETE, MIRROR_TAG, PLAN_ID_TAG, SYNC_OP, Environment
from .._errors import TobikoFacadeError
from .._events.events import filter_new, write_from_op
from .._events.latest import EventLog, LatestEvent
from .._events.messages import PastRun, TaskResult
from .._history.past_runs import PastRuns
from .._launch import executable
from .._mirror.announcements import hand_back_for_interrupted, show, show_failure_again
from .._mirror.executor import mirror_executor
from .._mirror.task import mirror_op
from .._storage.event_batches import Flush, batched_events

# To repeat a job would only repeat a remote failure. The sensor relaunches what was interrupted.
_NO_RETRIES = {"dagster/retry_on_asset_or_op_failure": "false", "dagster/max_retries": "0"}


def mirror_job(environment: Environment) -> dg.JobDefinition:
    """One op for each node, wired like the remote DAG.

    All ops are invocations of one definition under the names of the nodes: names of op definitions are unique in a code
    location, and the user has ops, too.
    """
    op = mirror_op(environment)
    manifest = environment.manifest
    graph = dg.GraphDefinition(
        name=environment.mirror_job,
        description=f"Mirrors one run of {manifest.cloud}'s scheduler in environment {environment.name}, task by "
        "task. The sensor starts it. By hand, it follows the newest run, or the one given as `run_id` in the "
        "run config.",
        node_defs=[op] if manifest.nodes else [],
        dependencies={
            dg.NodeInvocation(op.name, alias=node.op): _upstream([manifest.op_of[parent] for parent in node.parents])
            for node in manifest.nodes
        },
    )
    return graph.to_job(
        executor_def=mirror_executor(environment),
        tags={**_NO_RETRIES, ENVIRONMENT_TAG: environment.tag},
        config=dg.ConfigMapping(
            config_fn=lambda _: {},
            config_schema={
                "run_id": dg.Field(
                    dg.Noneable(str),
                    is_required=False,
                    default_value=None,
                    description="The remote run to mirror. Default: that of the tag tobiko/run_id, else the newest.",
                )
            },
        ),
    )


def _upstream(ops: list[str]) -> dict[str, Any]:
    if not ops:
        return {}
    return {"upstream": dg.MultiDependencyDefinition([dg.DependencyDefinition(op) for op in ops])}


def sync_job(environment: Environment) -> dg.JobDefinition:
    """One op, which copies the current state of the environment."""
    cloud = environment.manifest.cloud

    @dg.op(
        name=f"{SYNC_OP}_{environment.identifier}",
        description=f"Reports the newest materialization of each model and the newest result of each audit in {cloud}.",
        config_schema={
            "full": dg.Field(
                bool,
                default_value=False,
                description="Also report what Dagster already has (fires sensors again).",
            ),
            "history": dg.Field(
                dg.Noneable(str),
                is_required=False,
                default_value=None,
                description="Also write the remote runs that ended within this time, such as 7d, as runs of the mirror "
                "job: when they ran, and how their steps ended. The newest 500 at most, each once.",
            ),
            "plan_id": dg.Field(
                dg.Noneable(str),
                is_required=False,
                default_value=None,
                description="The plan to report on: if it failed, so does this step. Default: the tag tobiko/plan_id.",
            ),
        },
        out=dg.Out(dg.Nothing),
    )
    def populate_asset_info(context):  # type: ignore[no-untyped-def]  # Dagster takes no postponed annotation here
        with batched_events(context.instance) as flush:
            yield from _sync(context, environment, flush)
        yield dg.Output(None)

    graph = dg.GraphDefinition(
        name=environment.sync_job,
        description=f"Copies the current state of {cloud}'s environment {environment.name} to the "
        "assets and checks. What Dagster already has is skipped.",
        node_defs=[populate_asset_info],
        dependencies={dg.NodeInvocation(populate_asset_info.name, alias=SYNC_OP): {}},
    )
    return graph.to_job(executor_def=dg.in_process_executor, tags={**_NO_RETRIES, ENVIRONMENT_TAG: environment.tag})


def _sync(context: dg.OpExecutionContext, environment: Environment, flush: Flush) -> Iterator[dg.AssetMaterialization]:
    log = EventLog(context.instance, context.run_id)
    plan_id = context.op_config["plan_id"] or context.run.tags.get(PLAN_ID_TAG)
    hand_back_for_interrupted(context.instance)
    written = skipped = 0
    failed: list[dg.AssetKey] = []
    age = _history_age(context)
    arguments = [
        "sync",
        *executable.where(environment.name, environment.asset_prefix),
        *([f"--plan={plan_id}"] if plan_id else []),
        *([f"--history={age}"] if age else []),
    ]
    past: list[PastRun] = []
    with environment.launch(arguments, context) as launched:
        for events in launched.batches():
            results = [event for event in events if isinstance(event, TaskResult)]
            past += [event for event in events if isinstance(event, PastRun)]
            log.prefetch(results)
            for result in results:
                for warning in result.warnings:
                    context.log.warning(warning)
                if plan_id and result.outcome == "failure":
                    context.log.error(
                        f"{result.node} failed in {environment.manifest.cloud}: {result.reason or 'no message'}"
                    )
                new = filter_new(result, log, include_existing=context.op_config["full"])
                before = {m.key: (log.run_shown(m.key), log.asset(m.key)) for m in new.materializations}
                yield from write_from_op(new, log, context)
                _show(context, result, before)
                key = environment.names.asset_of_node(result.node)
                if result.outcome == "failure" and key is not None and not new.materializations:
                    failed.append(key)
                written += len(new.materializations) + len(new.checks)
                skipped += len(new.skip_reasons)
            flush()
        reason = launched.incomplete_reason()
    if reason:
        raise TobikoFacadeError(f"the sync was interrupted after {written} events: {reason}") from None
    context.log.info(f"{written} events written, {skipped} skipped since Dagster has them or newer ones")
    if age:
        runs = PastRuns(context, environment, mirror_job(environment)).write(past)
        context.log.info(f"{runs} runs of the past {age} written, {len(past) - runs} skipped since Dagster has them")
    if launched.finished and launched.finished.outcome == "failure":
        # Nothing is left to report: the sensor must not repeat it.
        context.instance.add_run_tags(context.run_id, {MIRROR_TAG: MIRROR_COMPLETE})
        for key in failed:
            show(context.instance, context.run, key, SYNC_OP)
        link = launched.finished.link
        raise dg.Failure(
            f"plan {plan_id} failed in {environment.manifest.cloud}: {launched.finished.reason or 'no message'}",
            metadata={"Log Link": dg.MetadataValue.url(link)} if link else None,
            allow_retries=False,
        )


def _history_age(context: dg.OpExecutionContext) -> str | None:
    """How far back runs are wanted; None if they are not, or if this Dagster takes none."""
    age: str | None = context.op_config["history"]
    if age and not (_internals.HAS_HISTORICAL_RUNS and _internals.EVENTS_HAVE_TIMES):
        context.log.debug(f"Dagster {dg.__version__} takes no runs of the past (1.10.14 does): history is left out")
        return None
    return age


def _show(
    context: dg.OpExecutionContext,
    result: TaskResult,
    before: dict[dg.AssetKey, tuple[str | None, LatestEvent | None]],
) -> None:
    """Makes assets that were written show this run; where an evaluation has failed since, the run that shows that."""
    for key, (run_id, latest) in before.items():
        if run_id is None or run_id == context.run_id:
            continue
        if result.outcome == "failure" and (latest is None or latest.run_id != run_id):
            show_failure_again(context.instance, run_id, key)
        else:
            show(context.instance, context.run, key, SYNC_OP)
