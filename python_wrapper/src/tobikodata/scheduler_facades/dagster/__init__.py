"""Shows the runs of SQLMesh's scheduler in Dagster, task by task.

    from dagster import EnvVar
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    sqlmesh = SQLMeshEnterpriseDagster(
        url=EnvVar("TCLOUD_BASE_URL").get_value(),
        oauth_client_id=EnvVar("TCLOUD_CLIENT_ID").get_value(),
        oauth_client_secret=EnvVar("TCLOUD_CLIENT_SECRET").get_value(),
    )
    defs = sqlmesh.create_definitions(environment="prod")

It declares assets, checks, two jobs and a sensor; it starts nothing remotely. All communication with the cloud is done
by the executable `tobiko-facade`, which this package launches.
"""

from __future__ import annotations

from ._version import register_version, require_dagster

require_dagster()

import dagster as dg  # noqa: E402  # whether it is there was asked before

from ._asset_specs import load_sqlmesh_asset_specs  # noqa: E402  # needs Dagster
from ._environment import ENVIRONMENT_TAG  # noqa: E402
from ._facade import SQLMeshEnterpriseDagster  # noqa: E402
from ._freshness import SQLMeshFreshness  # noqa: E402
from ._kubernetes.launcher import KubernetesLauncher  # noqa: E402
from ._launch.subprocess import SubprocessLauncher  # noqa: E402
from ._models import SQLMeshAudit, SQLMeshModel  # noqa: E402
from ._resource import TobikoCloudResource  # noqa: E402
from ._translator import DagsterSQLMeshTranslator  # noqa: E402

register_version()

if hasattr(dg, "StateBackedComponent"):
    from ._component.component import SQLMeshComponent
else:
    from ._component.unavailable import SQLMeshComponent  # type: ignore[assignment]

__all__ = [
    "ENVIRONMENT_TAG",
    "DagsterSQLMeshTranslator",
    "KubernetesLauncher",
    "SQLMeshAudit",
    "SQLMeshComponent",
    "SQLMeshEnterpriseDagster",
    "SQLMeshFreshness",
    "SQLMeshModel",
    "SubprocessLauncher",
    "TobikoCloudResource",
    "load_sqlmesh_asset_specs",
]
