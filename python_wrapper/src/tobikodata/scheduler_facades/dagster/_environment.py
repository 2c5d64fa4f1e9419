"""One environment of a SQLMesh project, as a code location shows it, and the names for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._launch.connection import Connection
from ._launch.launcher import Launcher
from ._launch.subprocess import SubprocessLauncher
from ._manifest import Manifest

ENVIRONMENT_TAG = "tobiko/environment"
RUN_ID_TAG = "tobiko/run_id"
# The plan that a sync was requested for.
PLAN_ID_TAG = "tobiko/plan_id"
# Put on a Dagster run when it has reported everything, even if what it reports is a failure.
MIRROR_TAG = "tobiko/mirror"
MIRROR_COMPLETE = "complete"
RUN_KEY_TAG = "dagster/run_key"

SYNC_OP = "populate_asset_info"


@dataclass(frozen=True)
class GraphQL:
    """The webserver that reloads the code location. Without a host, nothing does."""

    host: str | None = None
    port: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold headers with a token


@dataclass(frozen=True)
class Environment:
    """`name` is what the cloud is asked for, as the user gave it; names in Dagster are built from `identifier`."""

    connection: Connection
    name: str
    asset_prefix: str | None
    manifest: Manifest
    graphql: GraphQL
    launcher: Launcher = field(default_factory=SubprocessLauncher)

    @property
    def identifier(self) -> str:
        return re.sub(r"[^A-Za-z0-9_]", "_", self.name)

    @property
    def tag(self) -> str:
        """Dagster takes letters, digits, `_`, `-` and `.` in a tag of an asset, 63 at most."""
        return re.sub(r"[^A-Za-z0-9_.-]", "_", self.name)[:63]

    @property
    def sync_job(self) -> str:
        return f"tobiko_cloud_sync_{self.identifier}"

    @property
    def mirror_job(self) -> str:
        return f"tobiko_cloud_mirror_run_{self.identifier}"

    @property
    def sensor(self) -> str:
        return f"tobiko_cloud_track_{self.identifier}"
