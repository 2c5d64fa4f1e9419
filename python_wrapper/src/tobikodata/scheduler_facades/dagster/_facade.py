"""The public class, which a user's definitions.py calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg

from ._definitions.load import DefinitionsOf
from ._environment import GraphQL
from ._freshness import SQLMeshFreshness
from ._launch.connection import Connection, plain
from ._launch.launcher import Launcher
from ._launch.subprocess import SubprocessLauncher
from ._options import SENSOR_INTERVAL_S, Options
from ._translator import DagsterSQLMeshTranslator


class SQLMeshEnterpriseDagster:
    """A Tobiko Cloud project in Dagster.

    Args:
        url: Base URL of the project, e.g. from the environment variable TCLOUD_BASE_URL.
        token: Static API token (deprecated); not together with an OAuth client id.
        oauth_client_id: OAuth client provisioned for Dagster.
        oauth_client_secret: Its secret.
        dagster_graphql_host: Host of Dagster's webserver. With it, the code location is reloaded when models were
            added or removed; without it, somebody has to click "Reload".
        dagster_graphql_port: Its port.
        dagster_graphql_kwargs: Further arguments for `DagsterGraphQLClient`.
        launcher: Where the sync and mirror jobs run the executable: `SubprocessLauncher()`, the default, or
            `KubernetesLauncher(...)`. Loading and the sensor always run it on this machine.

    Each value may be text or a `dagster.EnvVar`. Without a token or a client, the environment variables of the
    executable or the login of the `tcloud` tool are used.

    Raises:
        TobikoFacadeError: There is no URL, or the credentials contradict each other.
    """

    def __init__(  # the arguments of version 1, in its order, then new ones
        self,
        url: str | None,
        token: str | None = None,
        oauth_client_id: str | None = None,
        oauth_client_secret: str | None = None,
        dagster_graphql_host: str | None = None,
        dagster_graphql_port: int | str | None = None,
        dagster_graphql_kwargs: Mapping[str, Any] | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        self._connection = Connection.checked(url, token, oauth_client_id, oauth_client_secret)
        port = plain(dagster_graphql_port)
        self._graphql = GraphQL(
            host=plain(dagster_graphql_host),
            port=int(port) if port is not None else None,
            kwargs=dict(dagster_graphql_kwargs or {}),
        )
        self._launcher = launcher or SubprocessLauncher()

    def create_definitions(
        self,
        environment: str = "prod",
        asset_prefix: str | None = None,
        enable_sensor_by_default: bool = True,
        *,
        translator: DagsterSQLMeshTranslator | None = None,
        group_by: Literal["schema"] | None = None,
        external_models: Literal["declare", "dependencies"] = "declare",
        external_asset_keys: Mapping[str, str | dg.AssetKey | Sequence[str]] | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        name: str | None = None,
        freshness: SQLMeshFreshness | None = None,
        sensor_interval_seconds: int = SENSOR_INTERVAL_S,
    ) -> dg.Definitions:
        """Assets, checks, the sync and mirror jobs and the sensor of one SQLMesh environment.

        Args:
            environment: The SQLMesh environment.
            asset_prefix: First part of every asset key. Needed where two environments share a code location.
            enable_sensor_by_default: Whether the sensor runs without being switched on.
            translator: Says what models and audits are in Dagster: keys, groups, owners, tags and so on.
            group_by: "schema" puts each model without a group of its own into that of its schema.
            external_models: "declare" makes external models assets, too; with "dependencies" they are only upstream
                of others, for assets of one's own or of another code location.
            external_asset_keys: Keys of one's own assets by the names of the tables that they load, as in
                `{"raw.orders": "dlt/orders"}`: models that read such a table depend on the asset. Never prefixed.
            include: Which models are declared: names with wildcards (`shop.*`), `tag:daily`, and `+shop.orders+` for
                what is upstream and downstream, too. Default: all.
            exclude: Which of them are not, in the same way. Nothing is reported of them.
            name: A name for the project, in the names of jobs, sensor and resource. Needed where two projects with
                an environment of the same name share a code location.
            freshness: Gives each model whose cron the cloud knows a freshness policy (Dagster 1.12 and later), e.g.
                `SQLMeshFreshness(slack=timedelta(hours=3))`. One that the translator gave stays.
            sensor_interval_seconds: How long from one tick of the sensor to the next. Dagster's daemon looks every five
                seconds which sensors are due.

        Returns:
            Definitions to use as they are, or to combine with `dagster.Definitions.merge`.

        Raises:
            TobikoFacadeError: The environment cannot be loaded, and no earlier manifest may serve instead; an argument
                has a value that it cannot have; or the translator raised, or gave two models one key.
        """
        options = Options.checked(
            translator,
            plain(group_by),
            external_models,
            external_asset_keys,
            include,
            exclude,
            plain(name),
            freshness,
            sensor_interval_seconds,
        )
        return self.definitions_of(environment, asset_prefix, enable_sensor_by_default, options).load()

    def definitions_of(
        self, environment: str, asset_prefix: str | None, enable_sensor_by_default: bool, options: Options
    ) -> DefinitionsOf:
        """What `create_definitions` loads, before it is loaded. For the component, which stores the state itself."""
        return DefinitionsOf(
            self._connection,
            self._graphql,
            self._launcher,
            environment=plain(environment) or "prod",
            asset_prefix=plain(asset_prefix),
            sensor_on=enable_sensor_by_default,
            options=options,
        )

    def __repr__(self) -> str:
        return f"SQLMeshEnterpriseDagster(url={self._connection.base_url!r})"
