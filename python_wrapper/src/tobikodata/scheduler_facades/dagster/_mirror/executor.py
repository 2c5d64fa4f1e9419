"""The executor of the mirror job: one process for all steps, one executable for the whole remote run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack
from typing import Any

import dagster as dg

from .. import _internals
from .._environment import Environment
from .._launch import executable
from .._launch.launcher import Launched
from .._storage.event_batches import Flush, batched_events
from .heartbeat import Heartbeat
from .mirror import Mirror
from .runs import which_run
from .turn import wait_for_turn


def mirror_executor(environment: Environment) -> dg.ExecutorDefinition:
    return dg.ExecutorDefinition(
        name="tobiko_cloud_mirror",
        description="Follows one remote run: each step starts and ends when its remote task does.",
        config_schema={},
        requirements=[],
        executor_creation_fn=lambda _: MirrorExecutor(environment),
    )


class MirrorExecutor(dg.Executor):
    """Starts and ends each step when its remote task does."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    @property
    def retries(self) -> Any:
        return _internals.RetryMode.DISABLED

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:  # noqa: ARG002
        def steps(job_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
            planned = execution_plan.start(retry_mode=_internals.RetryMode.DISABLED)
            with batched_events(job_context.instance) as flush, planned as active:
                mirror = Mirror(self._environment, job_context, execution_plan, active)
                yield from _follow(self._environment, job_context, mirror, flush)

        # As in Dagster's in-process executor.
        return iter(
            _internals.ExecuteRunWithPlanIterable(
                execution_plan=plan_context.execution_plan,
                iterator=steps,
                execution_context_manager=_internals.PlanExecutionContextManager(
                    job=plan_context.job,
                    retry_mode=plan_context.retry_mode,
                    execution_plan=plan_context.execution_plan,
                    run_config=plan_context.run_config,
                    dagster_run=plan_context.dagster_run,
                    instance=plan_context.instance,
                    raise_on_error=plan_context.raise_on_error,
                    output_capture=plan_context.output_capture,
                ),
            )
        )


def _follow(
    environment: Environment, job_context: _internals.PlanExecutionContext, mirror: Mirror, flush: Flush
) -> Iterator[dg.DagsterEvent]:
    """Launches the executable when its turn has come, and applies what it reports, until it ends."""
    heartbeat = Heartbeat(job_context.instance, job_context.run_id)
    heartbeat.beat_if_due()
    for _ in wait_for_turn(job_context.instance, job_context.dagster_run, job_context.log):
        heartbeat.beat_if_due()
        flush()
        if mirror.is_cancelled():
            yield from mirror.cancel()
    arguments = [
        "mirror",
        *executable.where(environment.name, environment.asset_prefix),
        *which_run(job_context.instance, job_context.dagster_run),
    ]
    with ExitStack() as stack:
        stdout, stderr = yield from _compute_log(job_context, mirror.steps, stack)
        launched = stack.enter_context(
            environment.launch(
                arguments,
                job_context,
                nodes=list(environment.manifest.op_of),
                stdout=stdout,
                stderr=stderr,
            )
        )
        for events in launched.batches():
            heartbeat.beat_if_due()
            mirror.prefetch(events)
            for event in events:
                yield from mirror.handle(event)
                heartbeat.beat_if_due()  # writing many events takes long
                yield from _cancel_if_interrupted(launched, mirror)
            flush()
            yield from _cancel_if_interrupted(launched, mirror)
        incomplete_reason = launched.incomplete_reason()
    yield from mirror.close(incomplete_reason)


def _cancel_if_interrupted(launched: Launched, mirror: Mirror) -> Iterator[dg.DagsterEvent]:
    """Dagster captures signals during a run: the executor has to check for them."""
    if mirror.is_cancelled():
        launched.stop()
        yield from mirror.cancel()


def _compute_log(
    job_context: _internals.PlanExecutionContext, steps: list[str], stack: ExitStack
) -> Generator[dg.DagsterEvent, None, tuple[list[Any], list[Any]]]:
    """Streams to the run's compute log, where Dagster's page shows what the executable printed."""
    manager = job_context.instance.compute_log_manager
    key = list(manager.build_log_key_for_run(job_context.run_id, executable.NAME))
    kinds = (_internals.ComputeIOType.STDOUT, _internals.ComputeIOType.STDERR)
    try:
        streams = [stack.enter_context(manager.open_log_stream(key, kind)) for kind in kinds]
        captured = _internals.CapturedLogContext(key)
        yield dg.DagsterEvent.capture_logs(job_context, steps, key, captured)
    except Exception as error:  # a missing log is not worth a failed mirror
        job_context.log.warning(f"the compute log cannot be written: {error}")
        return [], []
    stdout, stderr = ([stream] if stream is not None else [] for stream in streams)
    return stdout, stderr
