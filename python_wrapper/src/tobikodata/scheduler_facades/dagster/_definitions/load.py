"""Declares what a code location shows of an environment, from the manifest.

The manifest is asked for where the code location is loaded, and nowhere else: run and step workers are handed
it by Dagster. While the cloud cannot be asked, the last one serves, which the executable keeps on disk.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from dataclasses import dataclass, field
from typing import Callable, Optional

import dagster as dg

from .._environment import Environment, GraphQL, RefreshState
from .._errors import TobikoFacadeError
from .._internals import StateBackedDefinitionsLoader
from .._launch import executable
from .._launch.connection import Connection
from .._launch.launcher import Launcher
from .._manifest import Manifest
from .._options import Options
from .._resource import RESOURCE_KEY, SHARED, TobikoCloudResource
from .._sensor.sensor import track_sensor
from .checks import checks_of
from .jobs import mirror_job, sync_job
from .merge import SharedKey
from .specs import Declared, declared

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DefinitionsOf(StateBackedDefinitionsLoader[str]):
    """What is declared of one environment. The state is the manifest's JSON text; it holds no secret."""

    connection: Connection
    graphql: GraphQL
    launcher: Launcher
    environment: str
    asset_prefix: str | None
    sensor_on: bool
    options: Options = field(default_factory=Options)
    # Of a component, which stores the state itself: reads it, and has it asked for anew.
    stored_state: Optional[Callable[[], str]] = None
    refresh_state: RefreshState = None

    def load(self) -> dg.Definitions:
        with warnings.catch_warnings():
            # Dagster calls it a preview; what it is for, and where it was tried, is said in _internals.
            warnings.filterwarnings("ignore", message=".*with_reconstruction_metadata")
            return self.build_defs()

    @property
    def defs_key(self) -> str:
        named = (self.options.name,) if self.options.name else ()
        which = "\n".join((self.connection.base_url, self.environment, self.asset_prefix or "", *named))
        return f"tobiko_cloud/{hashlib.sha256(which.encode()).hexdigest()[:24]}"

    def fetch_state(self) -> str:
        """The cloud's manifest; the kept one where the cloud gives none; in an outage without one, that of nothing.

        What is not there now is declared when the sensor finds that the cloud answers, and reloads the code location.
        """
        if self.stored_state:
            return self.stored_state()
        try:
            text = self.fetch_manifest()
        except TobikoFacadeError as error:
            if not error.outage:
                raise
            logger.warning("%s; only the jobs and the sensor of %s are declared by now", error, self.environment)
            return Manifest.empty(self.environment)
        kept = Manifest.from_json(text).kept
        if kept:
            reason = self.connection.redact(kept.reason)
            logger.warning("%s; the models of %s are declared as they were then", reason, kept.saved_at)
        return text

    def fetch_manifest(self) -> str:
        """The cloud's manifest, or the kept one.

        Raises:
            TobikoFacadeError: There is neither.
        """
        return executable.definitions(self.connection, self.environment, self.asset_prefix)

    def defs_from_state(self, state: str) -> dg.Definitions:
        what = declared(Manifest.from_json(state), self.asset_prefix, self.options)
        environment = Environment(
            connection=self.connection,
            name=self.environment,
            asset_prefix=self.asset_prefix,
            manifest=what.manifest,
            graphql=self.graphql,
            launcher=self.launcher,
            names=what.names,
            project=self.options.name,
            refresh_state=self.refresh_state,
        )
        for warning in environment.manifest.warnings:
            logger.warning("environment %s: %s", self.environment, warning)
        return declare(environment, what, self.sensor_on, self.options.sensor_interval_seconds)


def declare(environment: Environment, what: Declared, sensor_on: bool, interval_s: int) -> dg.Definitions:
    sync, mirror = sync_job(environment), mirror_job(environment)
    return dg.Definitions(
        # External assets: Dagster shows them and cannot materialize them.
        assets=list(what.assets),
        asset_checks=checks_of(environment, what.checks),
        jobs=[sync, mirror],
        sensors=[track_sensor(environment, sync, mirror, sensor_on, interval_s)],
        resources={SharedKey.of(environment, what.assets): SHARED, **_named_resource(environment)},
    )


def _named_resource(environment: Environment) -> dict[str, TobikoCloudResource]:
    """Beside the shared one, by which environments are compared when they are merged."""
    return {f"{RESOURCE_KEY}_{environment.project}": SHARED} if environment.project else {}
