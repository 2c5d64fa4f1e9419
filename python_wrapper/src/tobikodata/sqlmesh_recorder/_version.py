"""A snapshot's version: it names the data that an evaluation fills."""

from __future__ import annotations

import importlib
from typing import Any


def version_of(snapshot: Any, deployability: Any) -> str:
    """A development preview fills a table of its own: it says nothing about the table of the same version
    that production shows."""
    if deployability is None or deployability.is_deployable(snapshot):
        return str(snapshot.version or snapshot.fingerprint.to_version())
    return f"{getattr(snapshot, 'dev_version', None) or snapshot.fingerprint.to_version()}-dev"


def deployability_of(environment: Any, snapshots: Any) -> Any:
    """None where everything is deployable."""
    if environment.name == "prod":
        return None
    index = importlib.import_module("sqlmesh.core.snapshot").DeployabilityIndex
    return index.create(snapshots, start=environment.start_at)
