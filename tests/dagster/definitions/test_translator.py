"""What a translator changes, and that every dep, check and event follows it."""

from __future__ import annotations

import logging
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import MIRROR, SYNC, run_job

from tobikodata.scheduler_facades.dagster import (
    ENVIRONMENT_TAG,
    DagsterSQLMeshTranslator,
    SQLMeshAudit,
    SQLMeshModel,
)

pytestmark = pytest.mark.fast

PROJECT = s.manifest(
    s.node("raw", kind="table", model_name="s.raw"),
    s.node(
        "orders",
        "raw",
        checks=("not_null", "unique"),
        model_name="s.orders",
        tags=["daily", "key:value", "dagster:group_name:sales", "dagster:owner:team:data", "dagster:owner:a b"],
    ),
    s.node("top", "orders", model_name="s.top", description="[View in Tobiko Cloud](http://cloud/top)"),
    s.node("last", "top", model_name="s.last", deps=[["wh", "s", "top"], ["other", "table"]]),
)


def key(*parts: str) -> dg.AssetKey:
    return dg.AssetKey(list(parts))


ORDERS, TOP, LAST = key("wh", "s", "orders"), key("wh", "s", "top"), key("wh", "s", "last")


def specs(definitions: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in definitions.assets or () if isinstance(spec, dg.AssetSpec)}


def deps(spec: dg.AssetSpec) -> set[dg.AssetKey]:
    return {dep.asset_key for dep in spec.deps}


class Renaming(DagsterSQLMeshTranslator):
    """Other keys, no `top`, another check, no `unique`."""

    def get_asset_spec(self, model: SQLMeshModel) -> dg.AssetSpec | None:
        if model.table == "top":
            return None
        spec = super().get_asset_spec(model)
        assert spec
        group = None if model.source_type == "external" else f"group_{model.schema}"
        return dg.AssetSpec(["new", model.table], deps=spec.deps, group_name=group, kinds={"a"})

    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> dg.AssetCheckSpec | None:
        if audit.name == "unique":
            return None
        return dg.AssetCheckSpec(f"{audit.name}_of_{audit.model.table}", asset=asset_key)

    def get_event_metadata(self, event: Any) -> dict[str, Any]:
        return {"Team": "data", "Log Link": "never", "Of": event.key.to_user_string()}


def test_a_description_names_the_cloud_that_its_link_leads_to(definitions: Any) -> None:
    found = specs(definitions({**PROJECT, "cloud": "SQLMesh"}))
    assert found[ORDERS].description == "the model orders\n\n[View in SQLMesh](http://cloud/orders)"


def test_by_default_keys_groups_and_links_are_as_ever_and_kinds_and_tags_are_added(
    definitions: Any, caplog: Any
) -> None:
    with caplog.at_level(logging.WARNING):
        found = specs(definitions(PROJECT))
    orders = found[ORDERS]
    assert orders.kinds == {"sqlmesh", "sql"}
    assert found[key("wh", "s", "raw")].kinds == {"sqlmesh", "table"}
    tags = {name: value for name, value in orders.tags.items() if not name.startswith("dagster/kind/")}
    assert tags == {ENVIRONMENT_TAG: "prod", "daily": "", "key_value": ""}
    assert (orders.group_name, list(orders.owners)) == ("sales", ["team:data", "team:a_b"])
    assert orders.description == "the model orders\n\n[View in Tobiko Cloud](http://cloud/orders)"
    assert orders.metadata["Link"] == dg.MetadataValue.url("http://cloud/orders")
    assert found[TOP].description == "s.top\n\n[View in Tobiko Cloud](http://cloud/top)"
    assert (found[TOP].group_name, list(found[TOP].owners)) == (None, [])
    (warning,) = [record.message for record in caplog.records if "refuses" in record.message]
    assert "'key:value' of s.orders is 'key_value' in Dagster" in warning
    assert "'a b' of s.orders is 'team:a_b' in Dagster" in warning


def test_groups_by_schema_are_one_argument(definitions: Any) -> None:
    found = specs(definitions(PROJECT, group_by="schema"))
    assert {spec.group_name for spec in found.values()} == {"s", "sales"}
    assert found[ORDERS].group_name == "sales"


def test_all_names_follow_the_translator_below_the_prefix(definitions: Any, script: Any, instance: Any) -> None:
    nodes = [
        {
            **node,
            "key": ["pre", *node["key"]],
            "op": f"pre_{node['op']}",
            "deps": [["pre", *dep] for dep in node["deps"]],
        }
        for node in PROJECT["nodes"]
    ]
    prefixed = definitions({**PROJECT, "nodes": nodes}, asset_prefix="pre", translator=Renaming())
    found = specs(prefixed)
    new = {name: key("pre", "new", name) for name in ("raw", "orders", "last", "table")}
    assert set(found) == {new["raw"], new["orders"], new["last"]}
    assert deps(found[new["orders"]]) == {new["raw"]}
    # What is not declared stays upstream under its own key; a table of somebody else's gets the translator's.
    assert deps(found[new["last"]]) == {key("pre", "wh", "s", "top"), new["table"]}
    graph = prefixed.get_repository_def().asset_graph
    check = dg.AssetCheckKey(new["orders"], "not_null_of_orders")
    assert set(graph.asset_check_keys) == {check}
    assert {node.name for node in prefixed.get_job_def(MIRROR).nodes} == {node["op"] for node in nodes}

    def below(message: dict[str, Any]) -> dict[str, Any]:
        params = message.get("send", {}).get("params") or {}
        if "asset_key" in params:
            params["asset_key"] = f"pre/{params['asset_key']}"
        return message

    messages = [
        below(message)
        for message in s.whole(
            s.success("raw"),
            s.success("orders", checks=("not_null", "unique")),
            s.success("top"),
            s.success("last"),
            s.success("newer"),
            s.done(),
        )
    ]
    script(mirror=messages, sync=[message for message in messages if "tobiko_run" not in message])
    for job in (MIRROR, SYNC):
        result = run_job(prefixed, instance, job)
        assert result.success, result.run_failure()
        assert "not understood" not in result.log()
    records = {key for key in instance.all_asset_keys() if instance.get_latest_materialization_event(key)}
    assert records == {*found, key("pre", "wh", "s", "newer")}
    event = instance.get_latest_materialization_event(new["orders"]).asset_materialization
    assert event.metadata["Team"].value == "data"
    assert event.metadata["Of"].value == "pre/new/orders"
    assert event.metadata["Log Link"].value == "http://cloud/e-orders/log"
    results = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])
    assert results[check].event.dagster_event.event_specific_data.metadata["Team"].value == "data"
    by_hand = dg.materialize(
        list(prefixed.asset_checks or ()), selection=dg.AssetSelection.checks(check), instance=instance
    )
    assert [(one.check_name, one.passed) for one in by_hand.get_asset_check_evaluations()] == [(check.name, True)]
    again = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    assert again.event.dagster_event.event_specific_data.metadata["Tobiko Cloud Evaluation Id"].value == "e-orders"
    not_declared = dg.AssetCheckKey(new["orders"], "unique")
    assert not instance.event_log_storage.get_latest_asset_check_execution_by_key([not_declared])


class Raising(DagsterSQLMeshTranslator):
    def get_asset_spec(self, model: SQLMeshModel) -> dg.AssetSpec | None:
        raise KeyError(f"{model.table}s")


class RaisingForAudits(DagsterSQLMeshTranslator):
    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> dg.AssetCheckSpec | None:
        raise ValueError(f"no such audit: {audit.name} on {asset_key.path[-1]}")


class OneKey(DagsterSQLMeshTranslator):
    def get_asset_spec(self, model: SQLMeshModel) -> dg.AssetSpec | None:
        return dg.AssetSpec("all", group_name=model.schema)


class OneName(DagsterSQLMeshTranslator):
    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> dg.AssetCheckSpec | None:
        return dg.AssetCheckSpec("all", asset=asset_key, description=audit.name)


class NoSpec(DagsterSQLMeshTranslator):
    def get_asset_spec(self, model: SQLMeshModel) -> Any:
        return model.table


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"translator": Raising()}, r"Raising\.get_asset_spec raised KeyError for model s\.raw: 'raws'"),
        (
            {"translator": RaisingForAudits()},
            r"RaisingForAudits\.get_asset_check_spec raised ValueError for audit not_null of model s\.orders: no such audit",
        ),
        ({"translator": OneKey()}, r'gave models "wh"."s"."raw" and "wh"."s"."orders" the same key all'),
        ({"translator": OneName()}, r"gave audits not_null and unique of model s\.orders the same name all"),
        ({"translator": NoSpec()}, r"NoSpec\.get_asset_spec returned 'raw' for model s\.raw: it must return"),
        ({"translator": Raising}, "is no translator"),
        ({"group_by": "catalog"}, "group_by='catalog' is unknown"),
        ({"external_models": "ignore"}, "external_models='ignore' is unknown"),
        ({"external_asset_keys": ["raw.orders"]}, "is no mapping"),
        ({"external_asset_keys": {"raw.orders": 7}}, "is no asset key"),
        ({"include": "shop.*"}, "is no list of patterns"),
        ({"exclude": [""]}, "is no list of patterns"),
        ({"name": "my shop"}, "cannot stand in the names of jobs"),
    ],
)
def test_what_cannot_be_declared_is_one_clear_error(definitions: Any, arguments: Any, said: str) -> None:
    with pytest.raises(Exception, match=said) as error:
        definitions(PROJECT, **arguments)
    assert "\n" not in str(error.value)


def test_metadata_that_cannot_be_had_costs_a_warning_and_no_event(definitions: Any, script: Any, instance: Any) -> None:
    class Failing(DagsterSQLMeshTranslator):
        def get_event_metadata(self, event: Any) -> Any:
            if event.key == ORDERS:
                raise RuntimeError("no team")
            return {"Of": object()} if event.key == TOP else {}

    defs = definitions(PROJECT, translator=Failing())
    script(mirror=s.whole(s.success("raw"), s.success("orders"), s.success("top"), s.success("last"), s.done()))
    result = run_job(defs, instance, MIRROR)
    assert result.success
    assert {"wh/s/orders", "wh/s/top"} <= set(result.materializations())
    assert "get_event_metadata raised RuntimeError: no team; its metadata is left out" in result.log()
