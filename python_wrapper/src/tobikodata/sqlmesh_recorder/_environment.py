"""An environment's DAG and the versions of its snapshots, read from SQLMesh's objects.

Only finalized environments are recorded; the callers check that.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from ._formatting import timestamp
from ._guard import safely


def environment_fields(environment: Any, snapshots: Iterable[Any], deployability: Any) -> dict[str, Any]:
    """The fields of an `environment` event."""
    snapshots = list(snapshots)
    cron, seconds = safely(_schedule, snapshots) or (None, None)
    nodes = (safely(_node, snapshot, deployability) for snapshot in snapshots)
    return {
        "environment": environment.name,
        "plan_id": environment.plan_id,
        "start_at": timestamp(environment.start_at),
        "schedule_cron": cron,
        "schedule_seconds": seconds,
        "nodes": sorted(filter(None, nodes), key=lambda node: str(node["name"])),
    }


def version_of(snapshot: Any, deployability: Any) -> str:
    """The snapshot's version: it names the table that an evaluation fills.

    A preview in a development environment fills a table of its own, so it gets a version of its own: its
    evaluations say nothing about production's table.
    """
    if deployability is None or deployability.is_deployable(snapshot):
        return str(snapshot.version or snapshot.fingerprint.to_version())
    return f"{getattr(snapshot, 'dev_version', None) or snapshot.fingerprint.to_version()}-dev"


def deployability_of(environment: Any, snapshots: Any) -> Any:
    """SQLMesh's deployability index, or None if everything is deployable."""
    if environment.name == "prod":
        return None
    index = importlib.import_module("sqlmesh.core.snapshot").DeployabilityIndex
    return index.create(snapshots, start=environment.start_at)


def _node(snapshot: Any, deployability: Any) -> dict[str, Any]:
    node = snapshot.node
    audits = [] if snapshot.is_audit else [audit.name for audit, _ in node.audits_with_args]
    return {
        "name": snapshot.name,
        "model_name": node.name,
        "description": node.description,
        "source_type": node.source_type,
        "tags": list(node.tags),
        "parent_names": sorted({parent.name for parent in snapshot.parents}),
        "audit_names": list(dict.fromkeys(audits)),
        # A seed is loaded when it changes, an external model never.
        "cron": node.cron if snapshot.evaluatable and not snapshot.is_seed else None,
        "type": "audit" if snapshot.is_audit else "model",
        "version": version_of(snapshot, deployability),
    }


def _schedule(snapshots: Iterable[Any]) -> tuple[str, int] | None:
    """The cron of the node that is due most often: the shortest time between two runs with work to do."""
    seconds: dict[str, int] = {}
    for node in (s.node for s in snapshots if s.evaluatable and not s.is_seed):
        if node.cron not in seconds:
            next_time = node.cron_next("2024-01-01")
            seconds[node.cron] = int((node.cron_next(next_time) - next_time).total_seconds())
    return min(seconds.items(), key=lambda item: item[1]) if seconds else None
