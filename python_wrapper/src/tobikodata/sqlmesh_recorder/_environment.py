"""An environment's DAG, read off SQLMesh's objects. Only finalized ones are told: that is asked before."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._guard import safely
from ._times import instant
from ._version import version_of


def environment_fields(environment: Any, snapshots: Iterable[Any], deployability: Any) -> dict[str, Any]:
    snapshots = list(snapshots)
    cron, seconds = safely(_schedule, snapshots) or (None, None)
    nodes = (safely(_node, snapshot, deployability) for snapshot in snapshots)
    return {
        "environment": environment.name,
        "plan_id": environment.plan_id,
        "start_at": instant(environment.start_at),
        "schedule_cron": cron,
        "schedule_seconds": seconds,
        "nodes": sorted(filter(None, nodes), key=lambda node: str(node["name"])),
    }


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
        "type": "audit" if snapshot.is_audit else "model",
        "version": version_of(snapshot, deployability),
    }


def _schedule(snapshots: Iterable[Any]) -> tuple[str, int] | None:
    """The cron of the node that is due most often: it is how often a run can have something to do."""
    seconds: dict[str, int] = {}
    for node in (s.node for s in snapshots if s.evaluatable and not s.is_seed):
        if node.cron not in seconds:
            next_time = node.cron_next("2024-01-01")
            seconds[node.cron] = int((node.cron_next(next_time) - next_time).total_seconds())
    return min(seconds.items(), key=lambda item: item[1]) if seconds else None
