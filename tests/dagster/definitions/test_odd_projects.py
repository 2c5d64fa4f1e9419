"""No project breaks a code location: whatever its models and audits are called, it loads, syncs and mirrors."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_pages import ask
from dagster_runs import Result, run_job
from fake_cloud import FakeCloud
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from recorded_cloud import Cloud, event, iso

Nodes = list[dict[str, Any]]
TIME = "2024-05-01T02:00:00+00:00"


BOTH = ("sync", "mirror_run")

numbers = iter(range(1_000_000))


def quoted(*parts: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def node(name: str, *parents: str, audits: tuple[str, ...] = (), kind: str = "model") -> dict[str, Any]:
    return {
        "name": name,
        "model_name": name,
        "description": None,
        "source_type": "audit" if kind == "audit" else "sql",
        "tags": [],
        "parent_names": list(parents),
        "audit_names": list(audits),
        "type": kind,
        "version": "1",
    }


def audit(name: str, *covers: str) -> dict[str, Any]:
    return node(name, *covers, kind="audit")


def named(*names: str) -> Nodes:
    """A chain of models, each with an audit."""
    return [node(name, *names[at - 1 : at], audits=("not_null",)) for at, name in enumerate(names)]


A, B, C = quoted("wh", "s", "a"), quoted("wh", "s", "b"), quoted("wh", "s", "c")

PROJECTS: dict[str, Nodes] = {
    "dashes": named(quoted("my-wh", "my-schema", "my-model"), "my-wh.s.x"),
    "dots in quotes": named(quoted("wh", "s", "a.b"), quoted("wh.s", "a", "b"), quoted("wh", "s.a", "b")),
    "blanks": named(quoted("my wh", " s ", " "), quoted(" "), "wh . s . a"),
    "slashes": named(quoted("a/b", "c"), quoted("a", "b/c"), quoted("a", "b", "c"), quoted("/"), quoted("a/", "/b")),
    "backslashes": named(quoted("a\\b", "c"), quoted("a\\/b", "c"), quoted("\\"), quoted('\\"'), "a\\b"),
    "brackets": named(quoted("[a]", "b"), quoted('["a"', '"b"]'), quoted("["), quoted("{}"), quoted("a", "[b]")),
    "quotes": named(quoted("wh", 'say "hi"'), quoted('"'), quoted("'"), "'it''s'", '"never closed', "`wh`.`a`"),
    "what URLs and templates take for themselves": named(
        quoted("100%?a=b&c#d+e"), quoted("a%2Fb"), quoted("{{ a }}"), quoted("${A}"), quoted("--node=x"), quoted("*")
    ),
    "white space": named(quoted("a\nb"), quoted("a\tb"), quoted("a\rb"), quoted("a\u00a0b"), quoted("a\u2028b")),
    "unicode only": named(
        quoted("数据", "表"), quoted("🍣"), quoted("é"), quoted("e\u0301"), quoted("\u202e"), "数据.表"
    ),
    "four and more parts": named(quoted("srv", "wh", "s", "a"), quoted("wh", "s", "a"), quoted(*"abcdef")),
    "300 characters": named(quoted("wh", "s", "x" * 300), quoted("wh", "s", "x" * 299 + "y"), quoted("🍣" * 300)),
    "reserved words": named(
        *map(quoted, ("context", "config", "class", "type", "input", "output", "None", "True", "int", "meta", "dict")),
        quoted("not", "null"),
    ),
    "names of our own": named(
        *map(quoted, ("tobiko_cloud_mirror_run_prod", "tobiko_cloud_sync_prod", "tobiko_cloud_track_prod")),
        *map(quoted, ("populate_asset_info", "tobiko_cloud_task_prod", "tobiko_cloud_checks_prod", "upstream")),
    ),
    "differ only in what is dropped": named(
        quoted("wh", "s", "a-b"),
        quoted("wh", "s", "ab"),
        quoted("wh", "s", "a b"),
        quoted("wh", "s", "a_b"),
        quoted("wh", "s_a", "b"),
    ),
    "differ only in case": named(quoted("wh", "s", "Orders"), quoted("wh", "s", "orders"), quoted("WH", "s", "orders")),
    "one name in two spellings": named(quoted("wh", "s", "a"), "wh.s.a", "wh.s.A"),
    "no name to speak of": named('""', '"".""', "...", ".", ";", "'"),
    "audits": [
        node(
            quoted("wh", "s", "audited"),
            audits=(
                "unique",
                "unique",
                "my-audit",
                "myaudit",
                "my.audit",
                "my audit",
                'say "hi"',
                "检查",
                "/",
                "x" * 300,
            ),
        ),
        node(
            quoted("wh", "s", "audited too"),
            quoted("wh", "s", "audited"),
            audits=("context", "class", "None", "a/b", "UNIQUE", "unique"),
        ),
    ],
    "an audit called like a standalone one": [
        node(A, audits=("balanced", '"balanced"')),
        node(B, audits=("balanced",)),
        audit("balanced", A, B),
        audit('"balanced"', A),
        audit(quoted("wh", "s", "balanced"), B),
    ],
    "a standalone audit called like a model": [
        node("orders", audits=("orders",)),
        audit('"orders"', "orders"),
        node(A, '"orders"'),
    ],
    "standalone audits of nothing": [
        audit("lonely"),
        audit("of_unknown_nodes", quoted("no", "node")),
        audit("of_itself", "of_itself"),
        node(A),
    ],
    "parents that are no nodes": [
        node(A, quoted("raw", "x"), quoted("wh", "s", "gone"), "", "a/b", quoted("")),
        node(B, A, A, A),
    ],
    "parents in another spelling": [node(A), node(B, "wh.s.a"), node(C, 'wh."s".a', A, "wh.s.b")],
    "self-parents and cycles": [
        node(A, A),
        node(B, C),
        node(C, B, A),
        *(node(f"m{n}", f"m{(n + 1) % 5}") for n in range(5)),
    ],
    "an audit in a cycle": [node(A, "watch"), audit("watch", A)],
    "an empty project": [],
}


def load_as_a_code_server(definitions: dg.Definitions) -> None:
    """What the code server makes of a code location before anybody sees it."""
    dg.serialize_value(RepositorySnap.from_def(definitions.get_repository_def()))


def evaluate_all(cloud: Cloud, nodes: Nodes, environment: str, run_id: str) -> None:
    """A run in which every node is evaluated; the first audit of each fails, the others pass. Each run is newer than all before."""
    at = 3000.0 + 1000 * next(numbers)
    events = [event("run_started", at, run_id=run_id, environment=environment)]
    for number, one in enumerate(nodes):
        batch = {"evaluation_id": f"{run_id}-{number}", "run_id": run_id, "environment": environment}
        batch.update(node_name=one["name"], version="1", interval_start=iso(at - 300), interval_end=iso(at))
        events.append(event("evaluation_started", at, **batch))
        audits = [one["name"]] if one["type"] == "audit" else one["audit_names"]
        for which, name in enumerate(dict.fromkeys(audits)):
            result = {"name": name, "status": "success" if which else "failed", "args": None, "log": None}
            events.append(event("audit", at, evaluation_id=batch["evaluation_id"], **result))
        end = {"status": "success", "error_message": None, "log": None}
        events.append(event("evaluation_ended", at + 1, evaluation_id=batch["evaluation_id"], **end))
        at += 2
    end = {"run_id": run_id, "environment": environment, "status": "success", "error_message": None}
    cloud.post(*events, event("run_ended", at, **end))


def check_told(result: Result, definitions: dg.Definitions, nodes: Nodes, run_id: str) -> None:
    """Every model is materialized, on an asset that is declared; every audit is a check that is declared."""
    assert result.success, result.run_failure()
    log = result.log()
    assert "not understood" not in log
    assert "reported on the run" not in log
    repository = definitions.get_repository_def()
    declared = {key for key in repository.asset_graph.get_all_asset_keys() if key in _specs(definitions)}
    materialized = [
        entry.dagster_event.step_materialization_data.materialization
        for entry in result.events("ASSET_MATERIALIZATION")
    ]
    assert (
        len(materialized)
        == len({one.asset_key for one in materialized})
        == len([one for one in nodes if one["type"] == "model"])
    )
    assert {one.asset_key for one in materialized} == declared
    ids = sorted(one.metadata["Tobiko Cloud Execution Id"].value for one in materialized)
    assert ids == sorted(f"{run_id}-{at}" for at, one in enumerate(nodes) if one["type"] == "model")
    results = [entry.dagster_event.event_specific_data for entry in result.events("ASSET_CHECK_EVALUATION")]
    keys = {(one.asset_key, one.check_name) for one in results}
    assert len(results) == len(keys)
    assert keys == {(key.asset_key, key.name) for key in repository.asset_graph.asset_check_keys}


def _specs(definitions: dg.Definitions) -> set[dg.AssetKey]:
    """Those that the package declares, not those that are only named as upstream."""
    return {spec.key for spec in definitions.assets or () if isinstance(spec, dg.AssetSpec)}


def check_project(
    cloud: Cloud, load: Any, instance: Any, nodes: Nodes, environment: str = "prod", jobs: tuple[str, ...] = BOTH
) -> dg.Definitions:
    cloud.environment(*nodes, name=environment)
    definitions: dg.Definitions = load(environment=environment)
    load_as_a_code_server(definitions)
    assert len(_specs(definitions)) == len([one for one in nodes if one["type"] == "model"])
    identifier = environment.replace("-", "_").replace("/", "_").replace(".", "_")
    for job in jobs:
        run_id = f"{environment}-{job}"
        evaluate_all(cloud, nodes, environment, run_id)
        result = run_job(definitions, instance, f"tobiko_cloud_{job}_{identifier}")
        check_told(result, definitions, nodes, run_id)
        if job == "mirror_run":
            assert len(result.steps()) == len(nodes)
            assert set(result.steps().values()) <= {"success"}
    return definitions


@pytest.mark.parametrize("project", PROJECTS)
def test_an_odd_project_loads_and_mirrors(project: str, cloud: Cloud, load: Any, instance: Any) -> None:
    definitions = check_project(cloud, load, instance, PROJECTS[project], jobs=("mirror_run",))
    keys = list(definitions.get_repository_def().asset_graph.asset_check_keys)
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    assert {record.status.value for record in records.values()} <= {"SUCCEEDED", "FAILED"}
    assert set(records) == set(keys)


PAGES = """{ assetNodes {
    id assetKey { path } dependencyKeys { path } description opNames
    assetChecksOrError { ... on AssetChecks { checks { name canExecuteIndividually
        executionForLatestMaterialization { status evaluation { success } }
    } } }
} }"""


def test_odd_projects_show_in_dagsters_pages_and_are_checked_by_hand(
    cloud: Cloud, load: Any, instance: Any, tmp_path: Path
) -> None:
    projects = ("slashes", "audits", "an audit called like a standalone one")
    nodes = list({one["name"]: one for project in projects for one in PROJECTS[project]}.values())
    definitions = check_project(cloud, load, instance, nodes)
    passed = {key: result.passed for key, result in newest_results(instance, definitions).items()}
    assert set(passed.values()) == {True, False}

    file = tmp_path / "definitions.py"
    file.write_text(
        "import os\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "defs = SQLMeshEnterpriseDagster(url=os.environ['TCLOUD_BASE_URL']).create_definitions()\n"
    )
    shown = {
        dg.AssetCheckKey(dg.AssetKey(asset["assetKey"]["path"]), check["name"]): (
            check["executionForLatestMaterialization"]["evaluation"]["success"]
        )
        for asset in json.loads(ask(instance, file, PAGES))["assetNodes"]
        for check in asset["assetChecksOrError"].get("checks", ())
    }
    assert shown == passed

    evaluate_all(cloud, nodes, "prod", "by-hand")
    selection = dg.AssetSelection.checks(*passed)
    result = dg.materialize(list(definitions.asset_checks or ()), selection=selection, instance=instance)
    assert result.success
    again = newest_results(instance, definitions)
    assert {key: one.passed for key, one in again.items()} == passed
    assert {one.metadata["Tobiko Cloud Evaluation Id"].value[:8] for one in again.values()} == {"by-hand-"}


def newest_results(instance: Any, definitions: dg.Definitions) -> dict[dg.AssetCheckKey, Any]:
    keys = list(definitions.get_repository_def().asset_graph.asset_check_keys)
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {key: records[key].event.dagster_event.event_specific_data for key in keys}


@pytest.mark.parametrize("environment", ["dev-alice", "release/1.2"])
def test_an_oddly_named_environment_loads_and_mirrors(environment: str, cloud: Cloud, load: Any, instance: Any) -> None:
    check_project(cloud, load, instance, named(A, B), environment)


def test_an_environment_that_does_not_exist_yet_says_so_and_its_models_come_with_it(
    cloud: Cloud, load: Any, instance: Any, caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        definitions = load(environment="dev-alice")
    assert "dev-alice: it does not exist (yet)" in caplog.text
    load_as_a_code_server(definitions)
    repository = definitions.get_repository_def()
    jobs = {job.name for job in repository.get_all_jobs()}
    assert jobs >= {"tobiko_cloud_sync_dev_alice", "tobiko_cloud_mirror_run_dev_alice"}
    assert _specs(definitions) == set()

    sensor = repository.get_sensor_def("tobiko_cloud_track_dev_alice")
    tick = sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository))
    assert "dev-alice does not exist in SQLMesh (yet)" in str(tick.skip_message)
    assert not tick.run_requests
    synced = run_job(definitions, instance, "tobiko_cloud_sync_dev_alice")
    assert synced.success
    assert "'dev-alice' does not exist (yet)" in synced.log()
    mirrored = run_job(definitions, instance, "tobiko_cloud_mirror_run_dev_alice")
    assert not mirrored.success
    assert "has no runs yet" in mirrored.run_failure()

    check_project(cloud, load, instance, named(A, B), "dev-alice")


ODD_ANSWERS: dict[str, Any] = {
    "unknown words": [
        {"name": "a", "type": "metric", "source_type": "dbt"},
        {"name": "b", "type": "", "source_type": "", "parent_names": ["a"]},
        {"name": "c", "type": 7, "source_type": ["sql"], "parent_names": ["b"]},
    ],
    "missing lists": [{"name": "a"}, {"name": "b", "parent_names": ["a"]}, {"name": "c", "audit_names": ["x"]}],
    "null everywhere": [
        dict.fromkeys(("type", "source_type", "parent_names", "audit_names", "tags", "description", "link"), None)
        | {"name": name}
        for name in "abc"
    ],
    "other types than expected": [
        {"name": "a", "parent_names": "b", "audit_names": {"x": 1}, "tags": 1, "description": ["text"], "link": {}},
        {"name": "b", "parent_names": [None, 1, ["a"]], "audit_names": [None, "x", "x"]},
        {"name": "c", "description": "d" * 1_000_000},
    ],
    "nodes without names, and what are no nodes": [
        {"name": "a"},
        {},
        None,
        1,
        "b",
        {"name": None},
        [],
        {"name": "b"},
        {"name": "c"},
    ],
    "nodes that are listed twice": [{"name": name, "source_type": kind} for name in "abc" for kind in ("sql", "seed")],
}


@pytest.mark.parametrize("oddity", ODD_ANSWERS)
def test_an_odd_answer_loads_and_mirrors(oddity: str, fake_cloud: FakeCloud, load: Any, instance: Any) -> None:
    fake_cloud.dags["prod"] = {"nodes": ODD_ANSWERS[oddity]}
    fake_cloud.runs = [{"run_id": "r1", "status": "success"}]
    fake_cloud.evaluations = [
        {"evaluation_id": f"r1-{name}", "run_id": "r1", "node_name": name, "status": "success", "end_at": TIME}
        for name in "abc"
    ]
    definitions = load()
    load_as_a_code_server(definitions)
    assert {"/".join(key.path) for key in _specs(definitions)} == set("abc")
    for job in ("sync", "mirror_run"):
        fake_cloud.evaluations[0]["evaluation_id"] = f"{job}-a"
        result = run_job(definitions, instance, f"tobiko_cloud_{job}_prod")
        assert result.success, result.run_failure()
        assert "a" in result.materializations()
    assert result.steps() == dict.fromkeys("abc", "success")


@pytest.mark.parametrize("dag", [{}, {"nodes": None}, {"environment": "prod"}, {"nodes": {}}])
def test_a_project_without_nodes_loads_and_mirrors(dag: Any, fake_cloud: FakeCloud, load: Any, instance: Any) -> None:
    fake_cloud.dags["prod"] = {"environment": "prod", **dag}
    fake_cloud.runs = [{"run_id": "r1", "status": "success"}]
    definitions = load()
    load_as_a_code_server(definitions)
    for job in ("sync", "mirror_run"):
        assert run_job(definitions, instance, f"tobiko_cloud_{job}_prod").success


PARTS = st.one_of(
    st.sampled_from(["a", "A", "a-b", "ab", "a.b", "a b", "a/b", "a\\b", '"', "[", "context", "数据", "x" * 300, "_"]),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=6),
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: quoted(*parts))


@st.composite
def projects(draw: Any) -> Nodes:
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    nodes = []
    for name in names:
        parents = draw(st.lists(st.one_of(st.sampled_from(names), NAMES), max_size=3))
        audits = draw(st.lists(st.one_of(PARTS, st.just("unique")), max_size=3))
        kind = draw(st.sampled_from(["model", "model", "model", "audit"]))
        nodes.append(node(name, *parents, audits=() if kind == "audit" else tuple(audits), kind=kind))
    return nodes


@settings(
    max_examples=int(os.environ.get("ODD_PROJECTS", "4")),
    deadline=None,
    database=None,
    phases=(Phase.generate,),  # a smaller example takes long to find, with a cloud and a Dagster for each
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(nodes=projects())
def test_any_project_loads_and_mirrors(nodes: Nodes, cloud: Cloud, load: Any, instance: Any) -> None:
    check_project(cloud, load, instance, nodes, f"e{next(numbers)}")
