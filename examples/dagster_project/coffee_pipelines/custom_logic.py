"""One's own logic, in response to what SQLMesh did: on the end and the start of a run, on a model's new data, and an
asset of one's own downstream of a model.
"""

import dagster as dg

from . import definitions

RUNNING = dg.DefaultSensorStatus.RUNNING

# The mirror job by reference, and by its name: the latter works across code locations too.
mirror_job = definitions.tobiko_cloud_definitions.get_job_def("tobiko_cloud_mirror_run_prod")
mirror_job_by_name = dg.JobSelector(location_name="coffee", job_name="tobiko_cloud_mirror_run_prod")


@dg.op
def send_email(context: dg.OpExecutionContext) -> None:
    context.log.info("here an e-mail would be sent: a SQLMesh run has ended well")


@dg.job
def send_email_job() -> None:
    send_email()


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[mirror_job],
    request_job=send_email_job,
    default_status=RUNNING,
)
def on_sqlmesh_run_success(context: dg.RunStatusSensorContext) -> dg.RunRequest:
    return dg.RunRequest()


@dg.op
def post_to_slack(context: dg.OpExecutionContext) -> None:
    context.log.info("here a message would be posted: a SQLMesh run has started")


@dg.job
def notify_slack() -> None:
    post_to_slack()


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.STARTED,
    monitored_jobs=[mirror_job_by_name],
    request_job=notify_slack,
    default_status=RUNNING,
)
def on_sqlmesh_run_start(context: dg.RunStatusSensorContext) -> dg.RunRequest:
    return dg.RunRequest()


@dg.op
def look_at_customers(context: dg.OpExecutionContext) -> None:
    context.log.info("here the new customers would be looked at")


@dg.job
def internal_customers_pipeline() -> None:
    look_at_customers()


CUSTOMERS = dg.AssetKey(["coffee", "sales", "customers"])


@dg.asset_sensor(asset_key=CUSTOMERS, job=internal_customers_pipeline, default_status=RUNNING)
def on_customers_updated(context: dg.SensorEvaluationContext, asset_event: dg.EventLogEntry) -> dg.RunRequest:
    return dg.RunRequest()


@dg.asset(deps=[CUSTOMERS], automation_condition=dg.AutomationCondition.eager())
def customer_letters(context: dg.AssetExecutionContext) -> None:
    """Made anew whenever SQLMesh has updated the customers."""
    context.log.info("here letters would be written")


custom_definitions = dg.Definitions(
    assets=[customer_letters],
    jobs=[send_email_job, notify_slack, internal_customers_pipeline],
    sensors=[
        on_sqlmesh_run_success,
        on_sqlmesh_run_start,
        on_customers_updated,
        dg.AutomationConditionSensorDefinition(
            "automation", target=dg.AssetSelection.assets(customer_letters), default_status=RUNNING
        ),
    ],
)
