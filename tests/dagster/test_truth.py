"""The truth about a task, row by row, from a real local cloud: under the mirror's executor, and another."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from cloud_side import Cloud, RemoteRun, model, standalone
from dagster_side import check_status, run_in_process, run_job

STEP = "wh_s_a"


def well(run: RemoteRun) -> None:
    run.evaluated("a", "not_null")
    run.end()


def batches(run: RemoteRun) -> None:
    for batch, passed in ((1, True), (2, False), (3, True)):
        run.started("a", batch)
        run.audited("a", "not_null", passed, batch=batch)
        run.ended("a", batch=batch)
    run.end()


def failed(run: RemoteRun) -> None:
    run.started("a")
    run.audited("a", "not_null", passed=False, blocking=True)
    run.ended("a", "failed", "audit not_null failed")
    run.end("failed", "1 model failed")


def failed_silently(run: RemoteRun) -> None:
    run.evaluated("a", status="failed")
    run.end("failed")


def success_with_a_message(run: RemoteRun) -> None:
    run.evaluated("a", message="but the table is empty")
    run.end()


def preempted(run: RemoteRun) -> None:
    run.evaluated("a", "not_null", status="preempted")
    run.end("failed", "preempted")


def aborted(run: RemoteRun) -> None:
    run.evaluated("a", "not_null", status="aborted")
    run.end("aborted")


def skipped(run: RemoteRun) -> None:
    run.evaluated("a", status="skipped")
    run.end()


def no_evaluation(run: RemoteRun) -> None:
    run.end()


def open_in_a_crash(run: RemoteRun) -> None:
    run.started("a")
    run.audited("a", "not_null")
    run.end("failed", "the worker was lost")


def none_in_a_crash(run: RemoteRun) -> None:
    run.end("failed", "the worker was lost")


ROWS: list[tuple[Callable[[RemoteRun], None], str, str, bool, tuple[bool, str] | None, str]] = [
    # what happened, step, step under another executor, materialized, check (passed, severity), what is said
    (well, "success", "success", True, (True, "WARN"), "View in Tobiko Cloud"),
    (batches, "success", "success", True, (False, "WARN"), "View in Tobiko Cloud"),
    (failed, "failure", "failure", False, (False, "ERROR"), "audit not_null failed"),
    (failed_silently, "failure", "failure", False, None, "without a message"),
    (success_with_a_message, "failure", "failure", False, None, "but the table is empty"),
    (preempted, "failure", "failure", False, (True, "WARN"), "preempted"),
    (aborted, "failure", "failure", False, (True, "WARN"), "aborted"),
    (skipped, "success", "success", False, None, "nothing was due"),
    (no_evaluation, "success", "success", False, None, "nothing was due"),
    (open_in_a_crash, "failure", "failure", False, (True, "WARN"), "the worker was lost"),
    (none_in_a_crash, "skipped", "success", False, None, "the worker was lost"),
]


@pytest.mark.parametrize("run_it", [run_job, run_in_process], ids=["own", "other"])
@pytest.mark.parametrize("row", ROWS, ids=[row[0].__name__ for row in ROWS])
def test_row(cloud: Cloud, load: Any, instance: Any, run_it: Any, row: Any) -> None:
    happens, step, step_elsewhere, materialized, check, said = row
    cloud.environment(model("a", audits=("not_null",)))
    happens(cloud.run("r1"))
    result = run_it(load(), instance, **{"tobiko/run_id": "r1"})

    own = run_it is run_job
    assert result.steps() == {STEP: step if own else step_elsewhere}, result.log()
    assert set(result.materializations(STEP)) == ({"wh/s/a"} if materialized else set())
    if check:
        told = result.checks(STEP)["wh/s/a", "not_null"]
        assert (told.passed, told.severity.value) == check
        assert check_status(instance, "wh/s/a", "not_null") == ("SUCCEEDED" if check[0] else "FAILED")
    else:
        assert result.checks() == {}
        assert check_status(instance, "wh/s/a", "not_null") is None
    if step == "failure":
        failure = result.failure(STEP)
        assert said in failure.description
        assert failure.metadata["Debugger"].value.startswith(cloud.base_url)
        assert failure.metadata["Log Link"].value.startswith(cloud.base_url)
    else:
        assert said in result.log(STEP)
    if own:
        # The Dagster run ends as the remote run did.
        badly = happens not in (well, batches, skipped, no_evaluation)
        assert result.success is not badly
        assert result.tags["tobiko/mirror"] == "complete"


def test_metadata_has_its_types(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    batches(cloud.run("r1"))
    result = run_job(load(), instance)
    (event,) = result.events("ASSET_MATERIALIZATION")
    metadata = event.dagster_event.step_materialization_data.materialization.metadata
    kinds = {key: type(value).__name__ for key, value in metadata.items()}
    assert kinds == {
        "Tobiko Cloud Run Id": "TextMetadataValue",
        "Tobiko Cloud Execution Id": "TextMetadataValue",
        "Log Link": "UrlMetadataValue",
        "Materialization Timestamp": "TimestampMetadataValue",
        "Execution Status": "TextMetadataValue",
        "Debugger": "UrlMetadataValue",
        "Batches": "IntMetadataValue",
    }
    assert metadata["Tobiko Cloud Run Id"].value == "r1"
    assert metadata["Tobiko Cloud Execution Id"].value == "r1-a-3"
    assert metadata["Batches"].value == 3
    check = result.checks()["wh/s/a", "not_null"]
    kinds = {key: type(value).__name__ for key, value in check.metadata.items()}
    assert kinds == {
        "Tobiko Cloud Evaluation Id": "TextMetadataValue",
        "Log Link": "UrlMetadataValue",
        "Execution Timestamp": "TimestampMetadataValue",
        "Interval Start Timestamp": "TimestampMetadataValue",
        "Interval End Timestamp": "TimestampMetadataValue",
        "Debugger": "UrlMetadataValue",
    }
    # the worst of three batches
    assert check.metadata["Tobiko Cloud Evaluation Id"].value == "r1-a-2"


def test_a_standalone_audit_checks_its_models_and_materializes_nothing(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a"), model("b"), standalone("no_orphans", "a", "b"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.evaluated("b")
    run.started('"no_orphans"')
    run.audited('"no_orphans"', "no_orphans", passed=False)
    run.ended('"no_orphans"')
    run.end()
    result = run_job(load(), instance)
    assert result.success
    assert set(result.materializations()) == {"wh/s/a", "wh/s/b"}
    assert set(result.checks("no_orphans")) == {("wh/s/a", "no_orphans"), ("wh/s/b", "no_orphans")}
    assert check_status(instance, "wh/s/a", "no_orphans") == "FAILED"
    assert check_status(instance, "wh/s/b", "no_orphans") == "FAILED"


@pytest.mark.parametrize("run_it", [run_job, run_in_process], ids=["own", "other"])
def test_nothing_below_a_failure_is_executed_unless_the_cloud_did(
    cloud: Cloud, load: Any, instance: Any, run_it: Any
) -> None:
    cloud.environment(model("a"), model("b", "a"), model("c", "a"))
    run = cloud.run("r1")
    run.evaluated("a", status="failed", message="boom")
    run.evaluated("c")  # evaluated although its upstream failed
    run.end("failed", "1 model failed")
    result = run_it(load(), instance)
    assert result.steps() == {"wh_s_a": "failure"}
    assert result.status == "FAILURE"
    if run_it is run_job:
        assert set(result.materializations()) == {"wh/s/c"}


def test_a_failed_run_whose_tasks_went_well_fails(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.end("failed", "the state could not be written")
    result = run_job(load(), instance)
    assert result.steps() == {"wh_s_a": "success"}
    assert result.status == "FAILURE"
    assert "the state could not be written" in result.run_failure()
    assert "no step to re-execute" in result.run_failure()
    assert cloud.base_url in result.run_failure()


@pytest.mark.usefixtures("cloud")
def test_an_environment_that_does_not_exist_has_its_jobs(load: Any) -> None:
    repository = load(environment="dev").get_repository_def()
    assert {"tobiko_cloud_sync_dev", "tobiko_cloud_mirror_run_dev"} <= {job.name for job in repository.get_all_jobs()}
    assert repository.has_sensor_def("tobiko_cloud_track_dev")
