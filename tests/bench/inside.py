"""What is measured: one process of this file does one thing in Dagster, as a code server or a run worker does it.

Runs in either environment, that of the original or that of this project. The last line on stdout is JSON.

    inside.py prepare             an instance with its tables, nothing in it
    inside.py load                the definitions, as far as a code server needs them
    inside.py tick COUNT          the sensor, so many times, with nothing new
    inside.py sync                the sync job, with its own executor
    inside.py mirror RUN_ID       the mirror job, with its own executor
    inside.py floor               a job that writes the same events, from the recording in BENCH_RECORDING
    inside.py record RUN_ID       makes that recording of a Dagster run
    inside.py events RUN_ID       what was written: counts by type; when each step ended
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions import AssetCheckEvaluation

MIRROR, SYNC, SENSOR = "tobiko_cloud_mirror_run_prod", "tobiko_cloud_sync_prod", "tobiko_cloud_track_prod"
RUN_KEY = "dagster/run_key"


def definitions() -> dg.Definitions:
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    return SQLMeshEnterpriseDagster(
        url=os.environ["TCLOUD_BASE_URL"],
        oauth_client_id=os.environ["TCLOUD_CLIENT_ID"],
        oauth_client_secret=os.environ["TCLOUD_CLIENT_SECRET"],
    ).create_definitions()


def mirror_job() -> dg.JobDefinition:
    return definitions().get_job_def(MIRROR)


def sync_job() -> dg.JobDefinition:
    return definitions().get_job_def(SYNC)


def floor_job() -> dg.JobDefinition:
    """As many ops, in the same graph, that write what was recorded and do nothing else."""
    recording = pickle.loads(Path(os.environ["BENCH_RECORDING"]).read_bytes())  # noqa: S301  # made by `record`
    steps: dict[str, list[Any]] = recording["steps"]

    @dg.op(ins={"upstream": dg.In(dg.Nothing)}, out=dg.Out(dg.Nothing))
    def write(context):
        for told in steps.get(context.op_handle.name, ()):
            if isinstance(told, (dg.AssetMaterialization, AssetCheckEvaluation)):
                yield told
            else:
                context.log.log(*told)
        yield dg.Output(None)

    graph = dg.GraphDefinition(
        name="floor",
        node_defs=[write],
        dependencies={
            dg.NodeInvocation("write", alias=step): (
                {"upstream": dg.MultiDependencyDefinition([dg.DependencyDefinition(above) for above in upstream])}
                if upstream
                else {}
            )
            for step, upstream in recording["upstream"].items()
        },
    )
    return graph.to_job(executor_def=dg.in_process_executor)


def run(instance: dg.DagsterInstance, job: Any, run_key: str | None) -> dict[str, Any]:
    """As a run worker does it: the definitions are loaded once, by this process."""
    from dagster._core.execution.api import execute_run

    recon = dg.reconstructable(job)
    tags = {**recon.get_definition().run_tags, **({RUN_KEY: run_key} if run_key else {})}
    dagster_run = instance.create_run_for_job(recon.get_definition(), tags=tags)
    execute_run(recon, dagster_run, instance)
    ended = instance.get_run_by_id(dagster_run.run_id)
    stats = instance.get_run_stats(dagster_run.run_id)
    took_s = (stats.end_time or 0) - (stats.start_time or 0)
    return {"run_id": dagster_run.run_id, "success": ended.is_success, "run_s": took_s}


def load() -> dict[str, Any]:
    """What a code server does before it can answer: declare all, and describe all for the webserver."""
    from dagster._core.remote_representation.external_data import RepositorySnap

    begun = time.monotonic()
    repository = definitions().get_repository_def()
    repository.load_all_definitions()
    declared_s = time.monotonic() - begun
    RepositorySnap.from_def(repository)
    return {"declared_s": declared_s, "load_s": time.monotonic() - begun}


def tick(instance: dg.DagsterInstance, count: int) -> dict[str, Any]:
    """The cursor is that of a sensor that has seen the newest run."""
    declared = definitions()
    sensor = declared.get_repository_def().get_sensor_def(SENSOR)
    cursor = os.environ["BENCH_CURSOR"]
    seconds = []
    for _ in range(count):
        with dg.build_sensor_context(instance, cursor, resources=dict(declared.resources or {})) as context:
            begun = time.monotonic()
            answer = sensor.evaluate_tick(context)
            seconds.append(time.monotonic() - begun)
            assert not answer.run_requests and answer.skip_message, answer
            cursor = answer.cursor or cursor
    return {"ticks_s": seconds}


def record(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What the steps of a run told, step by step, so that the floor can tell it again."""
    steps: dict[str, list[Any]] = defaultdict(list)
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if entry.step_key is None:
            continue
        if event is None:
            steps[entry.step_key].append((entry.level, entry.user_message))
        elif event.event_type_value == "ASSET_MATERIALIZATION":
            steps[entry.step_key].append(event.step_materialization_data.materialization)
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            steps[entry.step_key].append(event.event_specific_data)
    plan = instance.get_execution_plan_snapshot(instance.get_run_by_id(run_id).execution_plan_snapshot_id)
    upstream = {
        step.key: sorted({output.step_key for given in step.inputs for output in given.upstream_output_handles})
        for step in plan.steps
    }
    recording = {"steps": dict(steps), "upstream": upstream}
    Path(os.environ["BENCH_RECORDING"]).write_bytes(pickle.dumps(recording))
    return {"steps": len(upstream)}


def events(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    ends: dict[str, float] = {}
    entries = list(instance.all_logs(run_id))
    for entry in entries:
        kind = entry.dagster_event.event_type_value if entry.dagster_event else "log line"
        counts[kind] += 1
        if kind in ("STEP_SUCCESS", "STEP_FAILURE"):
            ends[entry.step_key] = entry.timestamp
    return {"events": dict(counts), "ends": ends}


def main(command: str, *arguments: str) -> dict[str, Any]:
    if command == "load":
        return load()
    with dg.DagsterInstance.get() as instance:
        if command == "prepare":
            instance.get_runs(limit=1)
            instance.get_asset_keys()
            return {"dagster": dg.__version__}
        if command == "tick":
            return tick(instance, int(arguments[0]))
        if command == "record":
            return record(instance, arguments[0])
        if command == "events":
            return events(instance, arguments[0])
        job = {"mirror": mirror_job, "sync": sync_job, "floor": floor_job}[command]
        return run(instance, job, arguments[0] if arguments else None)


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
