"""The code location of the daemon's tests: an environment for each case, with sensors more eager than users' are.

A test does not wait half a minute for each tick. Dagster's daemon looks every five seconds at most, whatever a sensor
asks for.
"""

from __future__ import annotations

import json
import os

import dagster as dg

from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

ports: dict[str, int] = json.loads(os.environ["GRAPHQL_PORTS"])


def declare(environment: str) -> dg.Definitions:
    host = "127.0.0.1" if environment in ports else None
    sqlmesh = SQLMeshEnterpriseDagster(
        url=os.environ["TCLOUD_BASE_URL"],
        dagster_graphql_host=host,
        # 0: the deployment's own webserver.
        dagster_graphql_port=ports.get(environment) or int(os.environ["DAGSTER_GRAPHQL_PORT"]),
    )
    return sqlmesh.create_definitions(environment, asset_prefix=environment, sensor_interval_seconds=1)


defs = dg.Definitions.merge(*(declare(environment) for environment in json.loads(os.environ["ENVIRONMENTS"])))
