"""The code location of the chaos: what users have, with a sensor more eager and less patient than theirs."""

from __future__ import annotations

import os

from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster
from tobikodata.scheduler_facades.dagster._mirror import heartbeat

# Constants of the package, so that ten minutes see what else takes hours.
for name in ("HEARTBEAT_INTERVAL_S", "SILENCE_LIMIT_S"):
    assert hasattr(heartbeat, name), f"{name} has another name now"
heartbeat.HEARTBEAT_INTERVAL_S = 3.0
heartbeat.SILENCE_LIMIT_S = 40.0

defs = SQLMeshEnterpriseDagster(
    url=os.environ["TCLOUD_BASE_URL"],
    oauth_client_id=os.environ["TCLOUD_CLIENT_ID"],
    oauth_client_secret=os.environ["TCLOUD_CLIENT_SECRET"],
    dagster_graphql_host="127.0.0.1",
    dagster_graphql_port=int(os.environ["DAGSTER_GRAPHQL_PORT"]),
).create_definitions(sensor_interval_seconds=3)
