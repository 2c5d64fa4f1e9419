"""What Dagster has after the chaos, against what the cloud says is true."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg
from truth_model import Model, end_of, run_ended_well, steps

MIRROR = "tobiko_cloud_mirror_run_prod"
SYNC = "tobiko_cloud_sync_prod"
ENDS = {"STEP_SUCCESS": "success", "STEP_FAILURE": "failure", "STEP_SKIPPED": "skipped"}


@dataclass
class Found:
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Written:
    """A materialization, or the result of a check, as it stands in the event log."""

    key: Any
    what: str
    evaluation_id: str
    of: float | None
    result: str
    by: str


def accounts(instance: dg.DagsterInstance, state: dict[str, Any], plans: dict[str, dict[str, Any]]) -> Found:
    """`state`: the control API's. `plans`: those that have ended, in the shape of its runs."""
    found = Found()
    dag = state["environments"]["prod"]
    models = {run["run_id"]: Model(dag, run) for run in state["runs"] if run["end_at"]}
    mirrors: dict[str, list[dg.DagsterRun]] = defaultdict(list)
    written: list[Written] = []
    for job in (MIRROR, SYNC):
        for run in instance.get_runs(dg.RunsFilter(job_name=job)):
            entries = instance.all_logs(run.run_id)
            written += [each for entry in entries for each in _written(entry, run.run_id)]
            if job == MIRROR:
                remote = run.tags.get("tobiko/run_id", "")
                if "dagster/run_key" in run.tags:  # else launched by hand
                    mirrors[remote].append(run)
                _check_steps(found, models[remote], run, entries)
    expected = {run_id: _expected(model) for run_id, model in models.items()}
    of_plans = {plan_id: _expected(Model(dag, plan)) for plan_id, plan in plans.items()}
    everything = {**models, **{plan_id: Model(dag, plan) for plan_id, plan in plans.items()}}
    newest = _newest(everything, {**expected, **of_plans})
    _check_truth(found, {**expected, **of_plans}, written)
    _check_order(found, instance, written)
    _check_shown(found, instance, written)
    _check_complete(found, expected, newest, mirrors, written)
    _check_newest(found, newest, written)
    _check_plans(found, instance, plans)
    _check_sync(found, expected, written)
    found.counts["remote runs"] = len(models)
    found.counts["plans"] = len(plans)
    found.counts["remote evaluations"] = sum(len(model.run["evaluations"]) for model in models.values())
    return found


def _written(entry: Any, by: str) -> list[Written]:
    event = entry.dagster_event
    if event is None:
        return []

    def value(metadata: Any, name: str) -> Any:
        return getattr(metadata.get(name), "value", None)

    if event.event_type_value == "ASSET_MATERIALIZATION":
        reported = event.step_materialization_data.materialization
        evaluation_id = value(reported.metadata, "Tobiko Cloud Execution Id")
        of = value(reported.metadata, "Materialization Timestamp")
        return [Written(reported.asset_key, reported.asset_key.to_user_string(), evaluation_id, of, "", by)]
    if event.event_type_value == "ASSET_CHECK_EVALUATION":
        reported = event.event_specific_data
        evaluation_id = value(reported.metadata, "Tobiko Cloud Evaluation Id")
        of = value(reported.metadata, "Execution Timestamp")
        result = "passed" if reported.passed else reported.severity.value
        check = f"{reported.asset_key.to_user_string()}:{reported.check_name.rsplit('.', 1)[-1]}"
        return [Written(reported.asset_check_key, check, evaluation_id, of, result, by)]
    return []


def _expected(model: Model) -> dict[tuple[str, str], str]:
    """By asset or check, and evaluation: the result. (Each node has one evaluation in a run here.)"""
    expected = {}
    for node, evaluations in model.evaluations.items():
        reported = model.final(node)
        for evaluation_id in reported.materializations:
            expected[_asset(node), evaluation_id] = ""
        for covered, audit, result in reported.checks:
            check = f"{_asset(covered)}:{audit.replace(chr(34), '').rsplit('.', 1)[-1]}"
            expected[check, evaluations[-1]["evaluation_id"]] = result
    return expected


def _asset(node: str) -> str:
    return node.replace('"', "").replace(".", "/")


def _check_steps(found: Found, model: Model, run: dg.DagsterRun, entries: list[Any]) -> None:
    """How the steps and the run ended. Of a mirror that broke off, only what it says must be true."""
    complete = run.tags.get("tobiko/mirror") == "complete" and run.is_finished
    found.counts["complete mirrors" if complete else "mirrors that broke off"] += 1
    ends = {
        entry.step_key: (ENDS[entry.dagster_event.event_type_value], entry)
        for entry in entries
        if entry.dagster_event and entry.step_key and entry.dagster_event.event_type_value in ENDS
    }
    nodes = {_asset(name).replace("/", "_"): name for name in model.nodes}
    outcomes = {name: {reported.outcome for reported in model.possible(name)} for name in model.nodes}
    for step, (end, entry) in ends.items():
        possible = {end_of(outcome) for outcome in outcomes.get(nodes.get(step, ""), {"nothing_due"})}
        is_remote = end != "failure" or "failed in SQLMesh" in str(
            entry.dagster_event.step_failure_data.user_failure_data or entry.dagster_event.step_failure_data.error
        )
        if is_remote and end not in possible:
            found.faults.append(f"step {step} of {run.run_id}: {end}, the truth is {possible}")
        elif not is_remote and complete:
            found.faults.append(f"step {step} of {run.run_id} broke off, though the mirror is complete")
    if not complete:
        if run.status == dg.DagsterRunStatus.SUCCESS:
            found.faults.append(f"run {run.run_id} is green, though its mirror broke off")
        return
    # The job may have been loaded before the newest models came.
    job = {
        name: [parent for parent in node["parent_names"] if parent in model.nodes]
        for name, node in model.nodes.items()
        if _asset(name).replace("/", "_") in ends or "/new_" not in _asset(name)
    }
    wanted = steps(job, {name: model.final(name).outcome for name in job})
    wanted = {_asset(name).replace("/", "_"): end for name, end in wanted.items() if end}
    if {step: end for step, (end, _) in ends.items()} != wanted:
        got = {step: end for step, (end, _) in ends.items()}
        differ = {step: (got.get(step), wanted.get(step)) for step in {*got, *wanted}}
        differ = {step: pair for step, pair in differ.items() if pair[0] != pair[1]}
        found.faults.append(f"steps of {run.run_id} (is, should be): {differ}")
    well = run_ended_well(model.run) and "failure" not in wanted.values()
    if (run.status == dg.DagsterRunStatus.SUCCESS) is not well:
        found.faults.append(f"run {run.run_id} is {run.status.value}, the remote run {model.run['status']}")
    found.counts["steps that ended as their tasks"] += len(ends)


def _check_truth(found: Found, expected: dict[str, dict[tuple[str, str], str]], written: list[Written]) -> None:
    true = {key: result for of_run in expected.values() for key, result in of_run.items()}
    for one in written:
        result = true.get((one.what, one.evaluation_id))
        if result is None or result != one.result:
            found.faults.append(f"{one} is false: the truth is {result}")


def _check_order(found: Found, instance: dg.DagsterInstance, written: list[Written]) -> None:
    """In the order of writing, which is not that of the events' times: those are the evaluations'."""
    for key in dict.fromkeys(one.key for one in written):
        before: Written | None = None
        for one in _in_order_of_writing(instance, key):
            if before and before.of is not None and one.of is not None and one.of < before.of:
                found.faults.append(f"{one} stands over the newer {before}")
            before = one


def _in_order_of_writing(instance: dg.DagsterInstance, key: Any) -> list[Written]:
    if isinstance(key, dg.AssetKey):
        records = instance.fetch_materializations(key, limit=1000, ascending=True).records
        return [each for record in records for each in _written(record.event_log_entry, record.run_id)]
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
    return [each for record in reversed(history) if record.event for each in _written(record.event, record.run_id)]


def _check_shown(found: Found, instance: dg.DagsterInstance, written: list[Written]) -> None:
    """What Dagster's pages show is the newest that was written, also where a mirror broke off."""
    newest: dict[Any, Written] = {}
    for one in written:
        if one.key not in newest or (one.of or 0) >= (newest[one.key].of or 0):
            newest[one.key] = one
    checks = [key for key in newest if isinstance(key, dg.AssetCheckKey)]
    executed = instance.event_log_storage.get_latest_asset_check_execution_by_key(checks)
    for key, one in newest.items():
        is_asset = isinstance(key, dg.AssetKey)
        entry = instance.get_latest_materialization_event(key) if is_asset else executed[key].event
        shown = _written(entry, "") if entry else []
        if [each.evaluation_id for each in shown] != [one.evaluation_id]:
            found.faults.append(f"{key} shows {shown or 'no result'}, the newest is {one}")
    found.counts["assets and checks that show their newest"] += len(newest)


def _newest(models: dict[str, Model], expected: dict[str, dict[tuple[str, str], str]]) -> dict[str, str]:
    """By asset or check: its newest evaluation, of a run or of a plan."""
    ends = {
        one["evaluation_id"]: one["end_at"] or ""
        for model in models.values()
        for evaluations in model.evaluations.values()
        for one in evaluations
    }
    newest: dict[str, str] = {}
    for keys in expected.values():
        for what, evaluation_id in keys:
            if what not in newest or _instant(ends[evaluation_id]) > _instant(ends[newest[what]]):
                newest[what] = evaluation_id
    return newest


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _check_newest(found: Found, newest: dict[str, str], written: list[Written]) -> None:
    """Whoever evaluated it: the newest result of each asset and check has arrived."""
    there = {(one.what, one.evaluation_id) for one in written}
    found.counts["assets and checks whose newest result arrived"] += len(newest)
    found.faults += [f"{key}, the newest, is missing" for key in newest.items() if key not in there]


def _check_plans(found: Found, instance: dg.DagsterInstance, plans: dict[str, dict[str, Any]]) -> None:
    """A plan that failed is a sync that failed; no other sync of a plan fails for what the plan did."""
    syncs: dict[str, list[dg.DagsterRun]] = defaultdict(list)
    for run in instance.get_runs(dg.RunsFilter(job_name=SYNC)):
        if plan_id := run.tags.get("tobiko/plan_id"):
            syncs[plan_id].append(run)
    for plan_id, plan in plans.items():
        ended = [run.status for run in syncs.get(plan_id, ()) if run.is_finished]
        if plan["status"] == "failed" and dg.DagsterRunStatus.FAILURE not in ended:
            found.faults.append(f"{plan_id} failed, and no sync of it did: {ended}")
        found.counts["failed plans that show as failed syncs"] += plan["status"] == "failed"


def _check_complete(
    found: Found,
    expected: dict[str, dict[tuple[str, str], str]],
    newest: dict[str, str],
    mirrors: dict[str, list[dg.DagsterRun]],
    written: list[Written],
) -> None:
    times = Counter((one.what, one.evaluation_id) for one in written)
    for run_id, of_run in expected.items():
        if run_id.startswith("old-"):
            continue  # ended before the first sync, which reports the newest state only
        complete = [run for run in mirrors.get(run_id, ()) if run.tags.get("tobiko/mirror") == "complete"]
        if not complete:
            attempts = [(run.tags["dagster/run_key"], run.status.value) for run in mirrors.get(run_id, ())]
            found.faults.append(f"remote run {run_id} was never mirrored to its end: {attempts}")
            continue
        lived = len(mirrors[run_id]) == 1
        found.counts["remote runs whose mirror lived"] += lived
        found.counts["remote runs whose mirror was killed"] += not lived
        for key in of_run:
            kind = "check results" if ":" in key[0] else "materializations"
            found.counts[f"{kind} expected"] += 1
            found.counts[f"{kind} written"] += times[key]
            if times[key] == 0 and run_id.startswith("late-") and newest[key[0]] != key[1]:
                found.counts[f"{kind} of late runs that nothing newer was replaced with"] += 1
            elif times[key] == 0:
                found.faults.append(f"{key} of {run_id} is missing")
            elif times[key] > 1 and lived:
                found.faults.append(f"{key} of {run_id} was written {times[key]} times, though its mirror lived")
            elif times[key] > 1:
                found.counts[f"{kind} written more than once, where a mirror was killed"] += 1


def _check_sync(found: Found, expected: dict[str, dict[tuple[str, str], str]], written: list[Written]) -> None:
    """Of what had ended before the sensor was there, the newest of each asset and check has been reported, once."""
    newest: dict[str, tuple[str, str]] = {}
    for run_id in sorted((run_id for run_id in expected if run_id.startswith("old-")), reverse=True):
        newest.update({key[0]: key for key in expected[run_id]})
    times = Counter((one.what, one.evaluation_id) for one in written)
    found.counts["reported by the sync"] += sum(times[key] for key in newest.values())
    found.faults += [f"{key} of the sync was reported {times[key]} times" for key in newest.values() if times[key] != 1]
