"""What Dagster's pages show of an asset: failed, in progress, materialized, or nothing."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from dagster_pages import Ask

HAS_HEALTH = tuple(map(int, dg.__version__.split(".")[:2])) >= (1, 13)

_STATES = """
query ($keys: [AssetKeyInput!]!) {
    assetsLatestInfo(assetKeys: $keys) {
        assetKey { path } inProgressRunIds unstartedRunIds latestRun { id status endTime }
    }
    assetNodes(assetKeys: $keys) {
        assetKey { path } assetMaterializations(limit: 1) { runId timestamp }
    }
}
"""
_HEALTH = """
query ($key: AssetKeyInput!) {
    assetOrError(assetKey: $key) { ... on Asset { assetHealth { materializationStatus } } }
}
"""


def show_health(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """The open-source webserver computes asset health and shows it to nobody."""
    if HAS_HEALTH:
        monkeypatch.setattr(instance, "dagster_asset_health_queries_supported", lambda: True)


def states(ask: Ask, *keys: str) -> dict[str, str]:
    """By asset. The catalog's health, where Dagster has it, has to agree with the graph."""
    answer = ask(_STATES, keys=[{"path": key.split("/")} for key in keys])
    info = {"/".join(one["assetKey"]["path"]): one for one in answer["assetsLatestInfo"]}
    nodes = {"/".join(one["assetKey"]["path"]): one for one in answer["assetNodes"]}
    found = {}
    for key in keys:
        found[key] = _in_the_graph(info.get(key), nodes[key])
        if HAS_HEALTH:
            health = ask(_HEALTH, key={"path": key.split("/")})["assetOrError"]["assetHealth"]["materializationStatus"]
            assert (health == "DEGRADED") is (found[key] == "failed"), (key, found[key], health)
    return found


def state_in_storage(instance: dg.DagsterInstance, key: str) -> str:
    """The same, without the webserver: from what it reads."""
    asset = dg.AssetKey(key.split("/"))
    announced = instance.get_latest_planned_materialization_info(asset)
    record = instance.get_run_record_by_id(announced.run_id) if announced and announced.run_id else None
    latest = instance.get_latest_materialization_event(asset)
    materialization = latest and {"runId": latest.run_id, "timestamp": latest.timestamp * 1e3}
    info: dict[str, Any] = {"inProgressRunIds": [], "unstartedRunIds": [], "latestRun": None}
    if record:
        run = record.dagster_run
        info["latestRun"] = {"id": run.run_id, "status": run.status.value, "endTime": record.end_time}
        if not run.is_finished and not (latest and latest.run_id == run.run_id):
            info["inProgressRunIds"] = [run.run_id]
    return _in_the_graph(info, {"assetMaterializations": [materialization] if materialization else []})


def _in_the_graph(info: dict[str, Any] | None, node: dict[str, Any]) -> str:
    """As the pages derive it from the answer: `buildLiveDataForNode` in Dagster's JavaScript."""
    materialization = next(iter(node["assetMaterializations"]), None)
    run = info and info["latestRun"]
    if info and (info["inProgressRunIds"] or info["unstartedRunIds"]):
        return "in progress"
    if run and run["status"] == "FAILURE":
        is_newer = materialization and float(materialization["timestamp"]) > 1e3 * float(run["endTime"])
        if not (materialization and materialization["runId"] == run["id"]) and not is_newer:
            return "failed"
    return "materialized" if materialization else "nothing"
