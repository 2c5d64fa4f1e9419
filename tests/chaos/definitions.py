"""The code location of the chaos test: what users have, with a sensor that is more eager than theirs."""

from __future__ import annotations

import os

from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster, _sensor

_sensor.INTERVAL_S = 3

defs = SQLMeshEnterpriseDagster(
    url=os.environ["TCLOUD_BASE_URL"],
    oauth_client_id=os.environ["TCLOUD_CLIENT_ID"],
    oauth_client_secret=os.environ["TCLOUD_CLIENT_SECRET"],
    dagster_graphql_host="127.0.0.1",
    dagster_graphql_port=int(os.environ["DAGSTER_GRAPHQL_PORT"]),
).create_definitions()
