"""Builds what the scripted executable plays: manifests and messages, in the shapes of the real one."""

from __future__ import annotations

import json
from typing import Any


def node(name: str, *parents: str, checks: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "name": f'"wh"."s"."{name}"',
        "type": "model",
        "key": ["wh", "s", name],
        "op": f"wh_s_{name}",
        "parents": [f'"wh"."s"."{parent}"' for parent in parents],
        "deps": [["wh", "s", parent] for parent in parents],
        "kind": "sql",
        "description": f"the model {name}\n\n[View in Tobiko Cloud](http://cloud/{name})",
        "link": f"http://cloud/{name}",
        "checks": [{"name": check, "audit": check} for check in checks],
        **more,
    }


def manifest(*nodes: dict[str, Any], environment: str = "prod", **more: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "environment": environment,
        "exists": True,
        "fingerprint": "f1",
        "link": "http://cloud/env",
        "warnings": [],
        "nodes": list(nodes),
        **more,
    }


def send(method: str, **params: Any) -> dict[str, Any]:
    return {"send": {"method": method, "params": params}}


OPENED = send("opened", extras={})
CLOSED = {"send": {"method": "closed", "params": None}}


def custom(**payload: Any) -> dict[str, Any]:
    return send("report_custom_message", payload=payload)


def run(run_id: str = "r1", start_at: float = 1.0) -> dict[str, Any]:
    return custom(
        tobiko="run",
        run_id=run_id,
        environment="prod",
        status="in_progress",
        link=f"http://cloud/{run_id}",
        start_at=start_at,
    )


def started(name: str) -> dict[str, Any]:
    return custom(tobiko="task_started", node=f'"wh"."s"."{name}"', link=f"http://cloud/{name}", at=1.0)


def text(value: str) -> dict[str, Any]:
    return {"raw_value": value, "type": "text"}


def url(value: str) -> dict[str, Any]:
    return {"raw_value": value, "type": "url"}


def number(value: float) -> dict[str, Any]:
    return {"raw_value": value, "type": "float"}


def materialized(name: str, evaluation: str, at: float) -> dict[str, Any]:
    return send(
        "report_asset_materialization",
        asset_key=f"wh/s/{name}",
        data_version=None,
        metadata={
            "Tobiko Cloud Run Id": text("r1"),
            "Tobiko Cloud Execution Id": text(evaluation),
            "Log Link": url(f"http://cloud/{evaluation}/log"),
            "Materialization Timestamp": number(at),
            "Execution Status": text("success"),
        },
    )


def checked(
    name: str, check: str, evaluation: str, at: float, *, passed: bool = True, severity: str = "WARN"
) -> dict[str, Any]:
    return send(
        "report_asset_check",
        asset_key=f"wh/s/{name}",
        check_name=check,
        passed=passed,
        severity=severity,
        metadata={
            "Tobiko Cloud Evaluation Id": text(evaluation),
            "Log Link": url(f"http://cloud/{evaluation}/log"),
            "Execution Timestamp": number(at),
        },
    )


def task(name: str, outcome: str, materialized: int = 0, checks: int = 0, **more: Any) -> dict[str, Any]:
    return custom(
        tobiko="task",
        node=f'"wh"."s"."{name}"',
        key=["wh", "s", name],
        outcome=outcome,
        link=f"http://cloud/{name}",
        log_link=f"http://cloud/{name}/log",
        **{
            "reason": None,
            "warnings": [],
            "evaluation_ids": [],
            "late": False,
            "materialized": bool(materialized),
            "checks": checks,
            **more,
        },
    )


def success(
    name: str, evaluation: str = "", at: float = 1000.0, checks: tuple[str, ...] = (), **more: Any
) -> list[dict[str, Any]]:
    evaluation = evaluation or f"e-{name}"
    return [
        materialized(name, evaluation, at),
        *(checked(name, check, evaluation, at) for check in checks),
        task(name, "success", materialized=1, checks=len(checks), **more),
    ]


def done(outcome: str = "success", reason: str | None = None, run_id: str = "r1") -> dict[str, Any]:
    return custom(
        tobiko="done",
        outcome=outcome,
        run_id=run_id,
        reason=reason,
        link=f"http://cloud/{run_id}",
        tasks=1,
        requests=2,
    )


def whole(*steps: Any, run_id: str = "r1") -> list[dict[str, Any]]:
    """A mirror that says hello and goodbye; lists are flattened."""
    flat: list[dict[str, Any]] = [OPENED, run(run_id)]
    for step in steps:
        flat.extend(step if isinstance(step, list) else [step])
    return [*flat, CLOSED]


def write(path: Any, **script: Any) -> None:
    with open(path, "w") as file:
        json.dump(script, file)
