"""Random scenarios, played by the scripted cloud, mirrored into Dagster, and compared with the model of the truth.

`RANDOM_SCENARIOS=200 FIRST_SEED=1000` tries more than usual; a failure names its seed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import random_scenarios
from asset_states import state_in_storage
from dagster_runs import Result, run_in_process, run_job
from scripted_cloud import ScriptedCloud, scripted_cloud
from truth_model import Model, Told, end_of, run_ended_well, shown, steps

FIRST_SEED = int(os.environ.get("FIRST_SEED", "1"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("RANDOM_SCENARIOS", "12")))
ODD_ANSWERS = ["null_execution_time", "times_without_zone", "unknown_fields"]


@pytest.fixture
def cloud(executable: str, fast_folder: Any, monkeypatch: Any) -> Iterator[ScriptedCloud]:
    monkeypatch.setenv("TOBIKO_FACADE_CACHE_DIR", str(fast_folder / "cache"))
    with scripted_cloud(executable, fast_folder) as cloud:
        monkeypatch.setenv("TCLOUD_BASE_URL", cloud.base_url)
        yield cloud


def test_what_dagster_shows_is_what_the_table_says(cloud: ScriptedCloud, load: Any, instance: Any) -> None:
    for seed in SEEDS:
        try:
            play(seed, cloud, load, instance)
        except BaseException:
            print(f"\nseed {seed}: FIRST_SEED={seed} RANDOM_SCENARIOS=1 plays it again")
            raise


def play(seed: int, cloud: ScriptedCloud, load: Any, instance: Any) -> None:
    chance = random.Random(seed)
    name = f"seed{seed}"
    nodes = random_scenarios.environment(chance, name)
    live = chance.random() < 0.4
    elsewhere = not live and chance.random() < 0.25
    cloud.environment(name, nodes)
    cloud.clear_faults()
    if chance.random() < 0.5:
        cloud.fault({"alter": chance.sample(ODD_ANSWERS, chance.randint(1, 3))})
    defs = load(environment=name)
    manifest = manifest_of(os.environ["TOBIKO_FACADE_EXECUTABLE"], name)
    if chance.random() < 0.3:
        nodes = changed(chance, name, nodes)
        cloud.environment(name, nodes)

    mirror = f"tobiko_cloud_mirror_run_{name}"
    newer: set[Any] = set()
    if not live and not elsewhere and chance.random() < 0.3:
        # A run is mirrored after a newer one: what the newer one has written stays.
        first = started(chance, cloud, name, nodes, f"{name}-first", live)
        second = started(chance, cloud, name, nodes, f"{name}-second", live)
        result = run_job(defs, instance, mirror, **{"tobiko/run_id": second.run["run_id"]})
        newer = compare(second, manifest, result, live)
        assets = {manifest.asset(name) for name in manifest.job}
        states = {asset: state_in_storage(instance, asset) for asset in assets}
        before = {asset: state for asset, state in states.items() if state != "nothing"}
        result = run_job(defs, instance, mirror, **{"tobiko/run_id": first.run["run_id"]})
        compare(first, manifest, result, live, newer, before)
        return
    model = started(chance, cloud, name, nodes, f"{name}-run", live)
    run_id = model.run["run_id"]
    if elsewhere:
        result = run_in_process(defs, instance, mirror, **{"tobiko/run_id": run_id})
        compare_elsewhere(model, manifest, result)
    elif live:
        result = run_job(defs, instance, mirror, **{"tobiko/run_id": run_id})
        compare(model_of(cloud, name, run_id, model.announced), manifest, result, live)
    else:
        result = run_job(defs, instance, mirror, **{"tobiko/run_id": run_id})
        compare(model, manifest, result, live)


def started(
    chance: random.Random, cloud: ScriptedCloud, name: str, nodes: list[dict[str, Any]], run_id: str, live: bool
) -> Model:
    """A run that goes on, or has ended."""
    description = {**random_scenarios.run(chance, nodes, run_id, live), "environment": name}
    cloud.run(**description)
    if live:
        cloud.settled()
    else:
        cloud.order("clock", {"advance_s": 60})
        cloud.wait_for_end(run_id)
    return model_of(cloud, name, run_id, description["announced"])


def model_of(cloud: ScriptedCloud, name: str, run_id: str, announced: bool) -> Model:
    state = cloud.state(run_id=run_id)
    (truth,) = state["runs"]
    return Model(state["environments"][name], truth, announced)


def changed(chance: random.Random, name: str, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Models were added and removed since the job was loaded."""
    gone = chance.choice(nodes)["name"]
    kept = [
        {**node, "parents": [parent for parent in node["parents"] if parent != gone]}
        for node in nodes
        if node["name"] != gone
    ]
    new = {"name": f'"{name}"."s"."new"', "source_type": "sql", "parents": [], "audits": ["audit_0"]}
    return [*kept, new]


class Manifest:
    """How the job calls what the cloud has: only names are taken from it, and the job's own edges."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.op_of = {node["name"]: node["op"] for node in manifest["nodes"]}
        self.job = {node["name"]: list(node["parents"]) for node in manifest["nodes"]}

    def asset(self, node: str) -> str:
        return node.replace('"', "").replace(".", "/")

    def check(self, node: str, audit: str) -> tuple[str, str]:
        """By its last part: a standalone audit's name has three."""
        return self.asset(node), audit.replace('"', "").rsplit(".", 1)[-1]


def manifest_of(executable: str, name: str) -> Manifest:
    argv = [executable, "definitions", f"--environment={name}"]
    return Manifest(json.loads(subprocess.run(argv, capture_output=True, check=True).stdout))


def reported_by(result: Result) -> tuple[list[str], list[tuple[tuple[str, str], str]]]:
    """All materializations, by evaluation id, and all checks, wherever in the run they are."""
    materializations = [
        entry.dagster_event.step_materialization_data.materialization.metadata["Tobiko Cloud Execution Id"].value
        for entry in result.events("ASSET_MATERIALIZATION")
    ]
    checks = []
    for entry in result.events("ASSET_CHECK_EVALUATION"):
        data = entry.dagster_event.event_specific_data
        key = (data.asset_key.to_user_string(), data.check_name.rsplit(".", 1)[-1])
        checks.append((key, shown(data.passed, data.severity.value)))
    return materializations, checks


def compare(
    model: Model,
    manifest: Manifest,
    result: Result,
    live: bool,
    newer: Any = frozenset(),
    before: Mapping[str, str] = MappingProxyType({}),
) -> set[Any]:
    """Returns the assets and checks that the run has written. Those in `newer` stay as they are.

    `before` is what assets show by newer runs.
    """
    nodes = [*manifest.job, *(name for name in model.evaluations if name not in manifest.job)]
    possible = {name: model.possible(name) if live else [model.final(name)] for name in nodes}
    materialized, checked = reported_by(result)
    ends = result.steps()

    assert len(materialized) == len(set(materialized)), "an evaluation was reported twice"
    announced = announced_by(result)
    assert live or len(announced) == len(set(announced)), "an asset was announced twice"
    outcomes: dict[str, str] = {}
    for name in nodes:
        of_node = {one["evaluation_id"] for one in model.evaluations.get(name, ())}
        assets = tuple(one for one in materialized if one in of_node)
        keys = keys_of(model, manifest, name)
        checks = sorted(one for one in checked if one[0] in keys)
        fits = [
            reported
            for reported in possible[name]
            if (() if manifest.asset(name) in newer else reported.materializations) == assets
            and [one for one in as_checks(manifest, reported) if one[0] not in newer] == checks
        ]
        assert fits, f"{name}: Dagster has {assets} {checks}, possible is {possible[name]}\n{result.log()}"
        if name in manifest.job and not is_standalone(model, name):
            shown_now = state_in_storage(result.instance, manifest.asset(name))
            expected_states = reported_states(fits)
            if manifest.asset(name) in before:
                # What a newer run has written stays. Dagster compares the time of what was written with that of its
                # run that failed, and the scripted cloud's clock is ahead of its own.
                newest = before[manifest.asset(name)]
                expected_states = {newest, *(expected_states if newest == "failed" else ())}
            assert shown_now in expected_states, f"{name}: {shown_now}, not {expected_states}\n{result.log()}"
            if not live and manifest.asset(name) not in before:
                # What is materialized by now, and shows no other run, needs no announcement.
                has_failed = any(reported.asset == "failed" for reported in fits)
                assert (manifest.asset(name) in announced) is has_failed, (name, announced, fits)
            elif manifest.asset(name) in announced:
                assert name in model.evaluations, "announced and not evaluated"
        if name in manifest.job:
            step = ends.get(manifest.op_of[name])
            outcomes[name] = next(
                (reported.outcome for reported in fits if end_of(reported.outcome) == step), fits[0].outcome
            )
    all_possible = {one for reported in possible.values() for each in reported for one in each.materializations}
    assert set(materialized) <= all_possible, "something false was reported"
    expected = {manifest.op_of[name]: end for name, end in steps(manifest.job, outcomes).items() if end}
    assert ends == expected, result.log()
    well = run_ended_well(model.run) and "failure" not in expected.values()
    assert result.success is well, (model.run["status"], expected, result.log())
    assert result.tags.get("tobiko/mirror") == "complete"
    return {*assets_of(result), *(key for key, _ in checked)}


def reported_states(told: Iterable[Told]) -> set[str]:
    return {reported.asset or "nothing" for reported in told}


def announced_by(result: Result) -> list[str]:
    return [entry.dagster_event.asset_key.to_user_string() for entry in result.events("ASSET_MATERIALIZATION_PLANNED")]


def is_standalone(model: Model, node: str) -> bool:
    return node in model.nodes and model.nodes[node]["type"] == "audit"


def assets_of(result: Result) -> set[str]:
    entries = result.events("ASSET_MATERIALIZATION")
    reported = [entry.dagster_event.step_materialization_data.materialization for entry in entries]
    return {materialization.asset_key.to_user_string() for materialization in reported}


def compare_elsewhere(model: Model, manifest: Manifest, result: Result) -> None:
    """Under another executor each op reports its own task, and what is not executed is not reported."""
    outcomes = {name: model.final(name).outcome for name in manifest.job}
    outcomes = {name: "success" if outcome == "skipped" else outcome for name, outcome in outcomes.items()}
    expected = {name: end for name, end in steps(manifest.job, outcomes).items() if end}
    assert result.steps() == {manifest.op_of[name]: end for name, end in expected.items()}, result.log()
    reported = [model.final(name) for name in expected]
    materialized, checked = reported_by(result)
    assert sorted(materialized) == sorted(one for each in reported for one in each.materializations)
    assert sorted(checked) == sorted(one for each in reported for one in as_checks(manifest, each))


def keys_of(model: Model, manifest: Manifest, node: str) -> set[tuple[str, str]]:
    """The checks whose results a node's evaluations carry."""
    known = model.nodes.get(node)
    if known is not None and known["type"] == "audit":
        return {manifest.check(covered, node) for covered in known["parent_names"]}
    audits = {audit["name"] for one in model.evaluations.get(node, ()) for audit in one["audits"]}
    return {manifest.check(node, audit) for audit in audits}


def as_checks(manifest: Manifest, reported: Told) -> list[tuple[tuple[str, str], str]]:
    return sorted((manifest.check(node, audit), result) for node, audit, result in reported.checks)
