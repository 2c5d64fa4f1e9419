"""The user's own assets beside those of SQLMesh: external models, choices of models, and keys that two declare."""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import MIRROR, SYNC, run_job
from packaging.version import Version

from tobikodata.scheduler_facades.dagster import DagsterSQLMeshTranslator, SQLMeshModel

pytestmark = pytest.mark.fast

DEPS_HAVE_METADATA = Version(dg.__version__) >= Version("1.10.0")


def key(*parts: str) -> dg.AssetKey:
    return dg.AssetKey(list(parts))


def specs(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in definitions.assets or () if isinstance(spec, dg.AssetSpec)}


def deps(spec: dg.AssetSpec) -> set[dg.AssetKey]:
    return {dep.asset_key for dep in spec.deps}


def audit(name: str, *covers: str) -> dict[str, Any]:
    return {
        **s.node(name, *covers),
        "name": name,
        "model_name": name,
        "type": "audit",
        "key": None,
        "op": name,
        "deps": [],
    }


def node(name: str, *parents: str, **more: Any) -> dict[str, Any]:
    return s.node(name, *parents, **{"model_name": f"s.{name}", **more})


PROJECT = s.manifest(
    node("raw", kind="table", checks=("fresh",)),
    node("stg_orders", "raw", deps=[["wh", "s", "raw"], ["lake", "events"]], tags=["staging"]),
    node("stg_items", "raw", tags=["staging"], checks=("not_null",)),
    node("orders", "stg_orders", "stg_items", checks=("unique", "balanced", "all_there"), tags=["daily"]),
    node("report", "orders", tags=["daily", "pii_names"]),
    audit("balanced", "orders"),
    audit("all_there", "orders", "stg_items"),
)
RAW, EVENTS = key("wh", "s", "raw"), key("lake", "events")
STG_ORDERS, STG_ITEMS = key("wh", "s", "stg_orders"), key("wh", "s", "stg_items")
ORDERS, REPORT = key("wh", "s", "orders"), key("wh", "s", "report")


def ops(definitions: dg.Definitions) -> set[str]:
    return {node.name for node in definitions.get_job_def(MIRROR).nodes}


def checks(definitions: dg.Definitions) -> set[tuple[str, str]]:
    graph = definitions.get_repository_def().asset_graph
    return {(one.asset_key.path[-1], one.name) for one in graph.asset_check_keys}


def table_names(spec: dg.AssetSpec) -> dict[str, str]:
    return {
        dep.asset_key.to_user_string(): dep.metadata["dagster/table_name"]
        for dep in spec.deps
        if getattr(dep, "metadata", None)
    }


def test_external_models_may_be_dependencies_only(definitions: Any, script: Any, instance: Any) -> None:
    defs = definitions(PROJECT, external_models="dependencies")
    found = specs(defs)
    assert RAW not in found
    assert deps(found[STG_ORDERS]) == {RAW, EVENTS}
    assert "wh_s_raw" in ops(defs)  # names of ops never change
    assert ("raw", "fresh") not in checks(defs)
    assert found[ORDERS].metadata["dagster/table_name"] == "wh.s.orders"
    if DEPS_HAVE_METADATA:
        assert table_names(found[STG_ORDERS]) == {"wh/s/raw": "wh.s.raw", "lake/events": "lake.events"}
    script(mirror=s.whole(s.success("raw", checks=("fresh",)), s.success("stg_orders"), s.done()))
    result = run_job(defs, instance, MIRROR)
    assert result.success
    assert set(result.materializations()) == {"wh/s/stg_orders"}
    assert not result.events("ASSET_CHECK_EVALUATION")


def test_only_production_says_names_of_tables(definitions: Any) -> None:
    found = specs(definitions({**PROJECT, "environment": "dev"}, external_models="dependencies"))
    assert "dagster/table_name" not in found[ORDERS].metadata
    assert table_names(found[STG_ORDERS]) == {}


@pytest.mark.parametrize("raw", ["s.raw", "wh.s.raw", '"wh"."s"."raw"'])
@pytest.mark.parametrize("external_models", ["declare", "dependencies"])
def test_external_tables_are_the_users_assets_where_a_key_is_given(
    definitions: Any, caplog: Any, raw: str, external_models: str
) -> None:
    @dg.asset(key=["dlt", "orders"])
    def load_orders() -> None: ...

    keys = {raw: "dlt/orders", "lake.events": ["dlt", "events"], "no.table": "x"}
    with caplog.at_level(logging.WARNING):
        defs = definitions(PROJECT, external_models=external_models, external_asset_keys=keys)
    found = specs(defs)
    assert RAW not in found
    assert deps(found[STG_ORDERS]) == {key("dlt", "orders"), key("dlt", "events")}
    assert table_names(found[STG_ORDERS]) == {}
    assert "external_asset_keys are of no external model: no.table" in caplog.text
    merged = dg.Definitions.merge(dg.Definitions(assets=[load_orders]), defs)
    graph = merged.get_repository_def().asset_graph
    assert graph.get(key("dlt", "orders")).child_keys == {STG_ORDERS, STG_ITEMS}


@pytest.mark.skipif(not DEPS_HAVE_METADATA, reason="deps have no metadata")
def test_an_asset_that_says_the_name_of_the_table_is_found_by_it(definitions: Any) -> None:
    @dg.asset(key=["dlt", "orders"], metadata={"dagster/table_name": "wh.s.raw"})
    def load_orders() -> None: ...

    merged = dg.Definitions.merge(
        dg.Definitions(assets=[load_orders]), definitions(PROJECT, external_models="dependencies")
    )
    assert merged.get_repository_def().asset_graph.get(STG_ITEMS).parent_keys == {key("dlt", "orders")}


@pytest.mark.parametrize("first", ["users", "ours"])
def test_a_key_that_two_declare_is_an_error_with_both_and_the_remedy(definitions: Any, first: str) -> None:
    @dg.asset(key=RAW)
    def load_raw() -> None: ...

    ours = definitions(PROJECT)
    users = dg.Definitions(assets=[load_raw])
    with pytest.raises(dg.DagsterInvalidDefinitionError) as error:
        dg.Definitions.merge(*((users, ours) if first == "users" else (ours, users)))
    text = str(error.value)
    assert "asset wh/s/raw is declared twice: by wh__s__raw in definitions of yours, and for model s.raw" in text
    assert 'external_asset_keys={"s.raw": "wh/s/raw"}' in text
    spec = dg.Definitions(assets=[dg.AssetSpec(ORDERS)])
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=r'exclude=\["s\.orders"\]'):
        dg.Definitions.merge(dg.Definitions.merge(ours, dg.Definitions()), spec)
    remedied = definitions(PROJECT, external_asset_keys={"s.raw": "wh/s/raw"}, exclude=["s.orders"])
    merged = dg.Definitions.merge(users, remedied, spec)
    assert merged.get_repository_def().asset_graph.get(RAW).child_keys == {STG_ORDERS, STG_ITEMS}


ALL = {"raw", "stg_orders", "stg_items", "orders", "report", "balanced", "all_there"}


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"include": ["s.*"]}, ALL),
        ({"include": ["s.stg_*"]}, {"stg_orders", "stg_items", "all_there"}),
        ({"include": ["tag:daily"]}, {"orders", "report", "balanced", "all_there"}),
        ({"include": ["tag:pii_*"]}, {"report"}),
        ({"include": ["wh.s.report"]}, {"report"}),
        ({"include": ["+s.stg_orders"]}, {"raw", "stg_orders"}),
        ({"include": ["+s.orders+"]}, ALL),
        ({"include": ["s.orders+"]}, {"orders", "report", "balanced", "all_there"}),
        ({"include": []}, set()),
        ({"exclude": ["tag:staging"]}, ALL - {"stg_orders", "stg_items"}),
        ({"exclude": ["s.orders"]}, ALL - {"orders", "balanced"}),
        ({"exclude": ["balanced"]}, ALL - {"balanced"}),
        ({"exclude": ["+tag:staging"]}, ALL - {"raw", "stg_orders", "stg_items"}),
        ({"include": ["s.*"], "exclude": ["s.stg_*", "tag:pii_names"]}, {"raw", "orders", "balanced", "all_there"}),
    ],
)
def test_models_are_included_and_excluded_as_sqlmesh_selects(definitions: Any, arguments: Any, left: set[str]) -> None:
    defs = definitions(PROJECT, **arguments)
    names = {node["name"]: node["op"] for node in PROJECT["nodes"]}
    audits = {"balanced", "all_there"}
    assert {path.path[-1] for path in specs(defs)} == left - audits
    assert ops(defs) == {op for op in names.values() if op.removeprefix("wh_s_") in left}
    # A standalone audit is a check of each declared model that it covers.
    standalone = {name for _, name in checks(defs) if name in audits}
    assert standalone == {name for name in audits & left if "orders" in left}


@pytest.mark.parametrize("pattern", ["git:main", "+", "owner:me"])
def test_what_selects_nothing_is_an_error(definitions: Any, pattern: str) -> None:
    with pytest.raises(Exception, match="selects no models"):
        definitions(PROJECT, include=[pattern])


def test_a_pattern_without_a_model_is_said_once(definitions: Any, caplog: Any) -> None:
    with caplog.at_level(logging.WARNING):
        definitions(PROJECT, exclude=["s.ordrs", "tag:x"])
    assert "match no model: s.ordrs; tag:x" in caplog.text


@pytest.mark.parametrize("job", [MIRROR, SYNC])
def test_of_what_is_left_out_nothing_is_reported(definitions: Any, script: Any, instance: Any, job: str) -> None:
    class Grouped(DagsterSQLMeshTranslator):
        def get_asset_spec(self, model: SQLMeshModel) -> dg.AssetSpec | None:
            assert model.table != "report", "what is left out needs no spec"
            return super().get_asset_spec(model)

    defs = definitions(PROJECT, exclude=["s.stg_*", "s.report", "s.new_*"], translator=Grouped())
    # The dep stays, on the key that the asset has where it is declared.
    assert deps(specs(defs)[ORDERS]) == {STG_ORDERS, STG_ITEMS}
    steps = [
        s.started("stg_items"),
        s.success("raw", checks=("fresh",)),
        s.success("stg_items", checks=("not_null",)),
        s.task("stg_orders", "failure", reason="no such column"),
        s.success("orders", checks=("unique",)),
        s.success("report"),
        s.success("new_model"),
    ]
    ended = s.done("failure", reason="a model failed") if job == MIRROR else s.done()
    script(**{job.split("_")[2]: s.whole(*steps, ended)})
    result = run_job(defs, instance, job)
    assert sorted(result.materializations()) == ["wh/s/orders", "wh/s/raw"]
    log = result.log()
    for name in ("stg_items", "stg_orders", "report", "new_model"):
        assert f'"{name}"' not in log
    if job == MIRROR:
        assert {step: end for step, end in result.steps().items() if "wh_s" in step} == {
            "wh_s_raw": "success",
            "wh_s_orders": "success",
        }
        assert not result.success  # the remote run did fail
        assert "a model failed" in result.run_failure()


def test_two_projects_with_an_environment_of_one_name_merge(definitions: Any, script: Any, instance: Any) -> None:
    shop = definitions(PROJECT, name="shop")
    other = s.manifest(s.node("a", key=["crm", "s", "a"], op="crm_s_a"))
    crm = definitions(other, name="crm")
    merged = dg.Definitions.merge(shop, crm)
    repository = merged.get_repository_def()
    repository.load_all_definitions()
    names = {job.name for job in repository.get_all_jobs()}
    assert names >= {
        "tobiko_cloud_mirror_run_shop_prod",
        "tobiko_cloud_sync_shop_prod",
        "tobiko_cloud_mirror_run_crm_prod",
        "tobiko_cloud_sync_crm_prod",
    }
    assert {sensor.name for sensor in repository.sensor_defs} == {
        "tobiko_cloud_track_shop_prod",
        "tobiko_cloud_track_crm_prod",
    }
    assert {"tobiko_cloud", "tobiko_cloud_shop", "tobiko_cloud_crm"} <= set(merged.resources or ())
    assert len(merged.metadata) == 2
    script(mirror=s.whole(s.success("orders"), s.done()))
    assert run_job(merged, instance, "tobiko_cloud_mirror_run_shop_prod").materializations().keys() == {"wh/s/orders"}

    with pytest.raises(dg.DagsterInvalidDefinitionError, match=r'create_definitions\(\.\.\., name="\.\.\."\)'):
        dg.Definitions.merge(definitions(PROJECT), definitions(other))
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="share 5 asset keys"):
        dg.Definitions.merge(shop, definitions(PROJECT, name="copy"))
