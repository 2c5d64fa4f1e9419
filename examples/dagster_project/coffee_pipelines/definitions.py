"""All that it takes to see a SQLMesh project in Dagster."""

from dagster import EnvVar

from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

sqlmesh = SQLMeshEnterpriseDagster(
    url=EnvVar("TCLOUD_BASE_URL").get_value(),
    oauth_client_id=EnvVar("TCLOUD_CLIENT_ID").get_value(),
    oauth_client_secret=EnvVar("TCLOUD_CLIENT_SECRET").get_value(),
    # With these, Dagster picks up new models by itself.
    dagster_graphql_host=EnvVar("DAGSTER_GRAPHQL_HOST").get_value(),
    dagster_graphql_port=EnvVar("DAGSTER_GRAPHQL_PORT").get_value(),
)

tobiko_cloud_definitions = sqlmesh.create_definitions(environment="prod", group_by="schema")
