"""A code location on Kubernetes: what runs for a while, runs in a pod of its own."""

from dagster import EnvVar

from tobikodata.scheduler_facades.dagster import KubernetesLauncher, SQLMeshEnterpriseDagster

sqlmesh = SQLMeshEnterpriseDagster(
    url=EnvVar("TCLOUD_BASE_URL").get_value(),
    oauth_client_id=EnvVar("TCLOUD_CLIENT_ID").get_value(),
    oauth_client_secret=EnvVar("TCLOUD_CLIENT_SECRET").get_value(),
    dagster_graphql_host="dagster-dagster-webserver",  # the webserver's Service of a Helm release called `dagster`
    dagster_graphql_port=80,
    launcher=KubernetesLauncher(
        image="your-registry/tobiko-facade:2.0.0",
        namespace="dagster",
        secret_name="tobiko-cloud",
        base_pod_spec={"containers": [{"resources": {"limits": {"memory": "512Mi"}}}]},
    ),
)
defs = sqlmesh.create_definitions(environment="prod")
