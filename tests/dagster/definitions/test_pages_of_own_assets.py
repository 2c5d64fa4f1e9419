"""The code on the pages about translators, one's own assets and several projects does what the pages say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fake_cloud import FakeCloud

from tobikodata.scheduler_facades.dagster import ENVIRONMENT_TAG

pytestmark = pytest.mark.fast

DOCS = Path(__file__).parents[3] / "docs"
HAS_REPLACE_ATTRIBUTES = hasattr(dg.AssetSpec, "replace_attributes")


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


@pytest.fixture
def shop(fake_cloud: FakeCloud, monkeypatch: Any) -> FakeCloud:
    def node(name: str, *parents: str, **more: Any) -> dict[str, Any]:
        def quoted(name: str) -> str:
            return ".".join(f'"{part}"' for part in ("wh", *name.split(".")))

        return {"name": quoted(name), "model_name": name, "parent_names": [quoted(one) for one in parents], **more}

    nodes = [
        node("raw.orders", source_type="external"),
        node("shop.orders", "raw.orders", source_type="sql", audit_names=["not_null", "slow_scan"], tags=["daily"]),
        node("scratch.mine", "shop.orders", source_type="python"),
        node("shop.report", "scratch.mine", source_type="sql"),
    ]
    for environment in ("prod", "dev"):
        fake_cloud.dags[environment] = {"environment": environment, "nodes": nodes}
    for variable in ("SHOP_URL", "CRM_URL"):
        monkeypatch.setenv(variable, fake_cloud.base_url)
    return fake_cloud


def loaded(*code: str) -> Any:
    """The asset graph of the definitions that the code makes."""
    space: dict[str, Any] = {}
    exec("\n".join(code), space)  # it is the documents' own
    repository = space["defs"].get_repository_def()
    repository.load_all_definitions()
    return repository.asset_graph


def names(keys: Any) -> set[str]:
    return {key.to_user_string() for key in keys}


@pytest.mark.skipif(not HAS_REPLACE_ATTRIBUTES, reason="specs have no replace_attributes")
@pytest.mark.usefixtures("shop")
def test_the_page_of_translators() -> None:
    (code,) = blocks("translator.md")
    graph = loaded(code)
    declared = {"analytics/raw/orders", "analytics/shop/orders", "analytics/shop/report"}
    # Of what is not declared, only the dep is left.
    assert names(graph.get_all_asset_keys()) == {*declared, "wh/scratch/mine"}
    orders = graph.get(dg.AssetKey(["analytics", "shop", "orders"]))
    assert (orders.group_name, list(orders.owners)) == ("shop", ["team:data"])
    assert names(orders.parent_keys) == {"analytics/raw/orders"}
    assert {key.name for key in orders.check_keys} == {"not_null"}


@pytest.mark.usefixtures("shop")
def test_the_page_of_ones_own_assets() -> None:
    mapped, by_table, choice = blocks("own-assets.md")
    graph = loaded(mapped)
    own = dg.AssetKey(["dlt", "orders"])
    assert names(graph.get(own).child_keys) == {"wh/shop/orders"}
    assert dg.AssetKey(["wh", "raw", "orders"]) not in graph.get_all_asset_keys()
    dependencies = mapped.replace('external_asset_keys={"raw.orders": "dlt/orders"}', 'external_models="dependencies"')
    before, after = dependencies.split('@dg.asset(key=["dlt", "orders"])\ndef load_orders() -> None: ...')
    graph = loaded(before, by_table, after)
    assert names(graph.get(own).child_keys) == ({"wh/shop/orders"} if HAS_REPLACE_ATTRIBUTES else set())
    graph = loaded(mapped, f"defs = {choice}")
    # Upstream of a declared model, what is left out is there by its key only.
    tags = {key.to_user_string(): graph.get(key).tags for key in graph.get_all_asset_keys()}
    assert {name for name in tags if ENVIRONMENT_TAG in tags[name]} == {"wh/shop/orders", "wh/shop/report"}


@pytest.mark.usefixtures("shop")
def test_the_page_of_several_projects() -> None:
    (code,) = blocks("several-projects.md")
    keys = names(loaded(code).get_all_asset_keys())
    assert {"wh/shop/orders", "dev/wh/shop/orders", "crm/wh/shop/orders"} <= keys
    assert len(keys) == 12
