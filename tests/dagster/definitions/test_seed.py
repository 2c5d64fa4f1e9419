"""The users' documentation, unchanged but for imports that it leaves out: all of it loads."""

# the snippets are executed as they are
from __future__ import annotations

import sys
import types
from typing import Any

import dagster as dg
import pytest
from dagster_runs import MIRROR, run_job
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model

DEFINITIONS = """
from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster
from dagster import EnvVar # for accessing variables in .env file

# create and configure SQLMeshEnterpriseDagster instance named `sqlmesh`
sqlmesh = SQLMeshEnterpriseDagster(
    url=EnvVar("TCLOUD_BASE_URL").get_value(), # environment variable from .env file
    oauth_client_id=EnvVar("TCLOUD_CLIENT_ID").get_value(), # environment variable from .env file
    oauth_client_secret=EnvVar("TCLOUD_CLIENT_SECRET").get_value(), # environment variable from .env file
)

# create Definitions object with `sqlmesh` object's `create_definitions()` method
tobiko_cloud_definitions = sqlmesh.create_definitions(environment="prod")
"""

MERGED = """
defs = Definitions() # existing Definitions object

defs = Definitions.merge(defs, sqlmesh.create_definitions(environment="prod"))
"""

WITH_GRAPHQL = """
sqlmesh = SQLMeshEnterpriseDagster(
    url=EnvVar("TCLOUD_BASE_URL").get_value(),
    dagster_graphql_host="localhost", # Example GraphQL host (could be passed in an environment variable instead)
    dagster_graphql_port=3000 # Example GraphQL port (could be passed in an environment variable instead)
)
"""

JOBS = """
# function that implements custom logic
@op
def send_email():
    import smtplib

    with smtplib.SMTP("smtp.yourdomain.com") as server:
        server.sendmail(...)

# function that creates job to execute custom logic function
@job
def send_email_job():
    send_email()
"""

BY_REFERENCE = 'mirror_job = tobiko_cloud_definitions.get_job_def("tobiko_cloud_mirror_run_prod")\n'

BY_SELECTOR = """
from dagster import JobSelector

mirror_job = JobSelector(job_name="tobiko_cloud_mirror_run_prod")
"""

ON_SUCCESS = """
@run_status_sensor(
    run_status=DagsterRunStatus.SUCCESS,
    monitored_jobs=[mirror_job], # Sensor should listen to `mirror_job`
    request_job=send_email_job # Sensor should execute `send_email_job` when `mirror_job` is complete
)
def on_tobiko_cloud_start_run(context: RunStatusSensorContext):
    return RunRequest()
"""

ON_STARTED = """
from dagster import run_status_sensor, job, DagsterRunStatus, EnvVar, RunRequest, RunStatusSensorContext
from dagster_slack import SlackResource

# get reference to mirror job
mirror_job = tobiko_cloud_definitions.get_job_def("tobiko_cloud_mirror_run_prod")

# define custom logic function
@op
def slack_op(slack: SlackResource):
    # see the dagster-slack docs here: https://docs.dagster.io/_apidocs/libraries/dagster-slack
    slack.get_client().chat_postMessage(channel="#notifications", ...)

# define job function that calls custom logic function
@job
def notify_slack():
    slack_op()

# define Sensor
@run_status_sensor(
    run_status=DagsterRunStatus.STARTED, # Listens for STARTED runs
    monitored_jobs=[mirror_job],
    request_job=notify_slack
)
def on_tobiko_cloud_start_run(context: RunStatusSensorContext):
    return RunRequest()
""".replace(", ...)", ")")

ASSET_SENSOR = """
from dagster import AssetKey, SensorEvaluationContext, EventLogEntry

@job
def internal_customers_pipeline():
    # custom logic goes here
    pass

@asset_sensor(
    asset_key=AssetKey(["postgres", "crm", "customers"]), # Asset key found in Dagster Asset Catalog
    job=internal_customers_pipeline
)
def on_crm_customers_updated(context: SensorEvaluationContext, asset_event: EventLogEntry):
    yield RunRequest()
"""


@pytest.fixture
def namespace(locked_cloud: Cloud, monkeypatch: Any) -> dict[str, Any]:
    """What the documented definitions.py has defined, with `from dagster import *` for what is left out."""
    locked_cloud.environment(
        {**model("customers"), "name": '"postgres"."crm"."customers"', "model_name": "postgres.crm.customers"}
    )
    monkeypatch.setenv("TCLOUD_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("TCLOUD_CLIENT_SECRET", CLIENT_SECRET)
    slack = types.ModuleType("dagster_slack")

    class SlackResource(dg.ConfigurableResource):  # type: ignore[type-arg]
        def get_client(self) -> Any:
            raise NotImplementedError

    slack.SlackResource = SlackResource  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dagster_slack", slack)
    names: dict[str, Any] = {}
    exec("from dagster import *", names)
    exec(DEFINITIONS, names)
    return names


def test_the_definitions_load_and_mirror(namespace: Any, locked_cloud: Cloud, instance: Any) -> None:
    run = locked_cloud.run("r1")
    run.started('"postgres"."crm"."customers"')
    run.ended('"postgres"."crm"."customers"')
    run.end()
    result = run_job(namespace["tobiko_cloud_definitions"], instance)
    assert result.success, result.log()
    assert set(result.materializations()) == {"postgres/crm/customers"}


def test_they_merge_with_existing_ones(namespace: Any) -> None:
    exec(MERGED, namespace)
    assert namespace["defs"].get_job_def(MIRROR)


def test_they_load_with_a_graphql_host(namespace: Any) -> None:
    exec(WITH_GRAPHQL, namespace)
    assert namespace["sqlmesh"].create_definitions(environment="prod").get_job_def(MIRROR)


def test_the_run_status_sensor_by_reference_loads(namespace: Any) -> None:
    exec(JOBS + BY_REFERENCE + ON_SUCCESS, namespace)
    _load(namespace, [namespace["send_email_job"]], [namespace["on_tobiko_cloud_start_run"]])


def test_the_run_status_sensor_by_selector_loads_with_the_location_that_dagster_asks_for(
    namespace: Any,
) -> None:
    """As documented, without a location, no Dagster takes it: it is the one snippet that needs a word more."""
    with pytest.raises(TypeError, match="location_name"):
        exec(BY_SELECTOR, namespace)
    selector = BY_SELECTOR.replace("job_name=", 'location_name="tobiko_cloud", job_name=')
    exec(JOBS + selector + ON_SUCCESS, namespace)
    _load(namespace, [namespace["send_email_job"]], [namespace["on_tobiko_cloud_start_run"]])


def test_the_slack_sensor_loads(namespace: Any) -> None:
    exec(ON_STARTED, namespace)
    _load(
        namespace,
        [namespace["notify_slack"]],
        [namespace["on_tobiko_cloud_start_run"]],
        {"slack": sys.modules["dagster_slack"].SlackResource()},
    )


def test_the_asset_sensor_loads(namespace: Any) -> None:
    exec(ASSET_SENSOR, namespace)
    _load(namespace, [namespace["internal_customers_pipeline"]], [namespace["on_crm_customers_updated"]])


def _load(namespace: Any, jobs: list[Any], sensors: list[Any], resources: Any = None) -> None:
    users = dg.Definitions(jobs=jobs, sensors=sensors, resources=resources or {})
    merged = dg.Definitions.merge(users, namespace["tobiko_cloud_definitions"])
    merged.get_repository_def().load_all_definitions()
