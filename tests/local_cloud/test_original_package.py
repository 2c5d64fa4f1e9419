"""The package that this one replaces, version 1.0.9, loads from the local cloud, syncs and mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import dagster as dg
import pytest
from conftest import LocalCloud
from story import ORDERS, REVENUE, SEED, Story, at


@pytest.fixture
def definitions(cloud: LocalCloud, story: Story) -> Iterator[dg.Definitions]:
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    cloud.forget_login()
    assert version("tobiko-cloud-scheduler-facade") == "1.0.9"
    sqlmesh = SQLMeshEnterpriseDagster(
        url=cloud.url, oauth_client_id=cloud.client_id, oauth_client_secret=cloud.client_secret
    )
    yield sqlmesh.create_definitions(environment="prod")
    cloud.forget_login()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def key(node_name: str) -> dg.AssetKey:
    return dg.AssetKey(node_name.strip('"').split('"."'))


def metadata_of(instance: dg.DagsterInstance, node_name: str) -> dict[str, Any]:
    event = instance.get_latest_materialization_event(key(node_name))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def test_it_loads_every_model_as_an_asset(definitions: dg.Definitions) -> None:
    keys = {spec.key for spec in definitions.resolve_all_asset_specs()}
    assert {key(SEED), key(ORDERS), key(REVENUE)} <= keys
    assert definitions.resolve_job_def("tobiko_cloud_sync_prod")
    assert definitions.resolve_job_def("tobiko_cloud_mirror_run_prod")


def test_it_syncs_the_newest_ended_evaluations(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    job = definitions.resolve_job_def("tobiko_cloud_sync_prod")
    assert job.execute_in_process(instance=instance).success
    orders = metadata_of(instance, ORDERS)
    assert orders["Tobiko Cloud Execution Id"] == "run-2-orders"
    assert orders["Execution Status"] == "failed"
    assert orders["Materialization Timestamp"] == at(202).timestamp()
    assert "tab_evaluation=log" in orders["Log Link"]
    assert metadata_of(instance, SEED)["Tobiko Cloud Execution Id"] == "plan-seed"
    # Its newest evaluation is open, and that is where the original leaves it.
    assert instance.get_latest_materialization_event(key(REVENUE)) is None


def test_it_mirrors_a_run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
    job = definitions.resolve_job_def("tobiko_cloud_mirror_run_prod")
    result = job.execute_in_process(instance=instance, tags={"dagster/run_key": "run-1"})
    assert result.success
    orders = metadata_of(instance, ORDERS)
    assert orders["Tobiko Cloud Run Id"] == "run-1"
    assert orders["Tobiko Cloud Execution Id"] == "run-1-orders-2"
