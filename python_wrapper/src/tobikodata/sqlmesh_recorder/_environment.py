"""An environment's DAG and the versions of its snapshots, read from SQLMesh's objects.

Only finalized environments are recorded; the callers check that.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from ._formatting import arguments_text, timestamp, truncate_middle
from ._guard import safely

# Of each audit of each model, in every version of the environment.
_QUERY_CHARACTERS = 4096


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
    uses = [(node, {})] if snapshot.is_audit else node.audits_with_args
    audits = [] if snapshot.is_audit else [audit.name for audit, _ in uses]
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
        "audits": list(filter(None, (safely(_audit, audit, arguments) for audit, arguments in uses))),
        "type": "audit" if snapshot.is_audit else "model",
        "version": version_of(snapshot, deployability),
    }


def _audit(audit: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A use of an audit. Of a standalone audit, itself."""
    own = arguments.get("blocking")  # a model's word counts for more than the audit's
    return {
        "name": audit.name,
        "args": safely(arguments_text, arguments),
        "blocking": audit.blocking if own is None else str(own).lower() == "true",
        "query": safely(_query, audit),
    }


def _query(audit: Any) -> str:
    """As its author wrote it, with its macros; old versions keep only what was parsed."""
    written = getattr(getattr(audit, "query_", None), "sql", None)
    text = written if isinstance(written, str) else audit.query.sql(dialect=audit.dialect or None, pretty=True)
    return truncate_middle(textwrap.dedent(text).strip(), _QUERY_CHARACTERS)


def _schedule(snapshots: Iterable[Any]) -> tuple[str, int] | None:
    """The cron of the node that is due most often: the shortest time between two runs with work to do."""
    seconds: dict[str, int] = {}
    for node in (s.node for s in snapshots if s.evaluatable and not s.is_seed):
        if node.cron not in seconds:
            next_time = node.cron_next("2024-01-01")
            seconds[node.cron] = int((node.cron_next(next_time) - next_time).total_seconds())
    return min(seconds.items(), key=lambda item: item[1]) if seconds else None
