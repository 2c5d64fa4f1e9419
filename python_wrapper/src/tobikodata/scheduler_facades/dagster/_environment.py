"""One environment of a SQLMesh project, as a code location shows it, and the names for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

import dagster as dg

from ._launch.connection import Connection
from ._launch.launcher import Launched, Launcher
from ._launch.subprocess import SubprocessLauncher
from ._manifest import Manifest
from ._names import EventNames

# Has a component's stored state asked for anew, before a reload reads it.
RefreshState = Optional[Callable[[dg.DagsterInstance], None]]

ENVIRONMENT_TAG = "tobiko/environment"
RUN_ID_TAG = "tobiko/run_id"
# The plan that a sync was requested for.
PLAN_ID_TAG = "tobiko/plan_id"
# The remote run of a Dagster run that no worker executed: a sync wrote it, long after the remote run.
HISTORY_TAG = "tobiko/history"
# Put on a Dagster run when it has reported everything, even if what it reports is a failure.
MIRROR_TAG = "tobiko/mirror"
MIRROR_COMPLETE = "complete"
RUN_KEY_TAG = "dagster/run_key"
# How Dagster labels the runs of a code location, on 1.9.1 and newest: `{repository}@{location}`.
REPOSITORY_LABEL_TAG = ".dagster/repository"

SYNC_OP = "populate_asset_info"


@dataclass(frozen=True)
class GraphQL:
    """The webserver that reloads the code location. Without a host, nothing does."""

    host: str | None = None
    port: int | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)  # may hold headers with a token


@dataclass(frozen=True)
class Environment:
    """`name` is what the cloud is asked for, as the user gave it; names in Dagster are built from `identifier`.

    The manifest holds what the user did not leave out; its fingerprint is that of the whole environment.
    """

    connection: Connection
    name: str
    asset_prefix: str | None
    manifest: Manifest
    graphql: GraphQL
    launcher: Launcher = field(default_factory=SubprocessLauncher)
    # From the names that the executable reports to those that are declared.
    names: EventNames = field(default_factory=EventNames)
    # The user's name for the project, in the names of jobs and sensor.
    project: str | None = None
    refresh_state: RefreshState = None

    @property
    def identifier(self) -> str:
        environment = re.sub(r"[^A-Za-z0-9_]", "_", self.name)
        return f"{self.project}_{environment}" if self.project else environment

    @property
    def tag(self) -> str:
        return environment_tag(self.name)

    def launch(self, arguments: Sequence[str], context: Any, **more: Any) -> AbstractContextManager[Launched]:
        """Runs `tobiko-facade sync` or `mirror` where the launcher does, and reports with Dagster's names.

        Args:
            arguments: The executable's command line.
            context: That of an op, or of a whole run: where its log lines go.
            more: What else `Launcher.launch` takes.
        """
        return _with_names(self.launcher.launch(self.connection, arguments, context, **more), self.names)

    @property
    def sync_job(self) -> str:
        return f"tobiko_cloud_sync_{self.identifier}"

    @property
    def mirror_job(self) -> str:
        return f"tobiko_cloud_mirror_run_{self.identifier}"

    @property
    def sensor(self) -> str:
        return f"tobiko_cloud_track_{self.identifier}"


def environment_tag(name: str) -> str:
    """Dagster takes letters, digits, `_`, `-` and `.` in a tag of an asset, 63 at most."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:63]


@contextmanager
def _with_names(launch: AbstractContextManager[Launched], names: EventNames) -> Iterator[Launched]:
    with launch as launched:
        launched.names = names
        yield launched
