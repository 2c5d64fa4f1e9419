"""The truth about a task, row by row, from a real local cloud: under the mirror's executor, and another."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from dagster_runs import EACH_EXECUTOR, SYNC, check_metadata, check_status, run_in_process, run_job
from fake_cloud import FakeCloud
from recorded_cloud import Cloud, RemoteRun, model, standalone

STEP = "wh_s_a"
TIME = "2024-05-01T02:00:00+00:00"


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


def open_in_a_crash_without_a_message(run: RemoteRun) -> None:
    run.started("a")
    run.end("failed")


def open_in_a_crash_after_some_batches(run: RemoteRun) -> None:
    run.started("a", 1)
    run.audited("a", "not_null", passed=False, batch=1)
    run.ended("a", batch=1)
    run.started("a", 2)
    run.audited("a", "not_null", batch=2)
    run.end("failed", "the worker was lost")


def none_in_a_crash(run: RemoteRun) -> None:
    run.end("failed", "the worker was lost")


ROWS: list[tuple[Callable[[RemoteRun], None], str, str, bool, tuple[bool, str] | None, str]] = [
    # what happened, step, step under another executor, materialized, check (passed, severity), what is said
    (well, "success", "success", True, (True, "WARN"), "View in SQLMesh"),
    (batches, "success", "success", True, (False, "WARN"), "View in SQLMesh"),
    (failed, "failure", "failure", False, (False, "ERROR"), "audit not_null failed"),
    (failed_silently, "failure", "failure", False, None, "without a message"),
    (success_with_a_message, "failure", "failure", False, None, "but the table is empty"),
    (preempted, "failure", "failure", False, (True, "WARN"), "preempted"),
    (aborted, "failure", "failure", False, (True, "WARN"), "aborted"),
    (skipped, "success", "success", False, None, "nothing was due"),
    (no_evaluation, "success", "success", False, None, "nothing was due"),
    (open_in_a_crash, "failure", "failure", False, (True, "WARN"), "the worker was lost"),
    (open_in_a_crash_without_a_message, "failure", "failure", False, None, "ended as 'failed', without a message"),
    (open_in_a_crash_after_some_batches, "failure", "failure", False, (False, "WARN"), "the worker was lost"),
    (none_in_a_crash, "skipped", "success", False, None, "the worker was lost"),
]


@EACH_EXECUTOR
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
        reported = result.checks(STEP)["wh/s/a", "not_null"]
        assert (reported.passed, reported.severity.value) == check
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
        "Duration (s)": "FloatMetadataValue",
        "Interval Start Timestamp": "TimestampMetadataValue",
        "Interval End Timestamp": "TimestampMetadataValue",
    }
    assert metadata["Tobiko Cloud Run Id"].value == "r1"
    assert metadata["Tobiko Cloud Execution Id"].value == "r1-a-3"
    assert metadata["Batches"].value == 3
    # Two seconds each, with one between two of them; each covers the 300 seconds before its start.
    assert metadata["Duration (s)"].value == 6.0
    assert metadata["Interval Start Timestamp"].value == 2001.0 - 300
    assert metadata["Interval End Timestamp"].value == 2007.0
    check = result.checks()["wh/s/a", "not_null"]
    kinds = {key: type(value).__name__ for key, value in check.metadata.items()}
    assert kinds == {
        "Tobiko Cloud Evaluation Id": "TextMetadataValue",
        "Log Link": "UrlMetadataValue",
        "Execution Timestamp": "TimestampMetadataValue",
        "Interval Start Timestamp": "TimestampMetadataValue",
        "Interval End Timestamp": "TimestampMetadataValue",
        "Debugger": "UrlMetadataValue",
        "Failing Rows": "IntMetadataValue",
        "Blocking": "BoolMetadataValue",
    }
    # the worst of three batches
    assert check.metadata["Tobiko Cloud Evaluation Id"].value == "r1-a-2"
    assert check.metadata["Failing Rows"].value == 3


def test_what_the_newest_recorder_says_is_metadata(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)), model("b"), standalone("no_orphans", "b"))
    run = cloud.run("r1")
    for batch in (1, 2):
        run.started("a", batch)
        query = f"SELECT id FROM a -- batch {batch}"  # noqa: S608  # never run
        run.audited("a", "not_null", batch=batch, args="columns := (id)", duration_seconds=0.25, log=query)
        run.ended("a", batch=batch, rows_processed=40)
    run.started("b")
    run.ended("b", rows_processed=0)
    run.started('"no_orphans"')
    run.ended('"no_orphans"')
    run.end()
    result = run_job(load(), instance)
    reported = result.materializations()
    assert reported["wh/s/a"]["Rows Processed"] == 80
    assert (reported["wh/s/b"]["Rows Processed"], reported["wh/s/b"]["Batches"]) == (0, 1)
    check = check_metadata(instance, "wh/s/a", "not_null")
    assert check["Duration (s)"] == 0.25
    assert check["Arguments"] == "columns := (id)"
    assert check["Blocking"] is False
    assert check["Failing Rows"] == 0
    assert check["Query"] == "SELECT id FROM a -- batch 2"
    assert check["Debugger"].endswith("#audit-1")
    # A standalone audit's evaluation is its result.
    assert check_metadata(instance, "wh/s/b", "no_orphans")["Duration (s)"] == 1.0


def test_a_sync_reports_the_numbers_of_the_evaluation_that_it_looked_at(cloud: Cloud, load: Any, instance: Any) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    batches(cloud.run("r1"))
    metadata = run_job(load(), instance, SYNC).materializations("populate_asset_info")["wh/s/a"]
    assert metadata["Duration (s)"] == 2.0
    assert metadata["Interval End Timestamp"] - metadata["Interval Start Timestamp"] == 300
    assert "Batches" not in metadata


@EACH_EXECUTOR
@pytest.mark.parametrize(("source_type", "below_is_open"), [("seed", False), ("external", False), ("sql", True)])
def test_what_is_not_due_is_no_victim_of_a_crash(
    cloud: Cloud, load: Any, instance: Any, run_it: Any, source_type: str, below_is_open: bool
) -> None:
    """Without an evaluation: a seed, an external model, and what the scheduler has passed by."""
    cloud.environment(model("a", source_type=source_type), model("b", "a"))
    run = cloud.run("r1")
    if below_is_open:
        run.started("b")
    run.end("failed", "the worker was lost")
    result = run_it(load(), instance)
    below = "failure" if below_is_open else "skipped" if run_it is run_job else "success"
    assert result.steps() == {STEP: "success", "wh_s_b": below}
    assert "nothing was due" in result.log(STEP)
    assert (result.materializations(), result.checks()) == ({}, {})


@EACH_EXECUTOR
@pytest.mark.parametrize(("status", "outcome"), [("success", "success"), ("failed", "failure"), ("lost", "failure")])
def test_an_unknown_status_is_judged_by_how_the_run_ended(
    fake_cloud: FakeCloud, load: Any, instance: Any, run_it: Any, status: str, outcome: str
) -> None:
    fake_cloud.dags["prod"] = {"environment": "prod", "nodes": [{"name": "a", "audit_names": ["x"]}]}
    fake_cloud.runs = [{"run_id": "r1", "status": status, "end_at": TIME}]
    audits = [{"name": "x", "status": "failed"}]
    evaluation = {"evaluation_id": "e", "run_id": "r1", "node_name": "a", "status": "cached", "end_at": TIME}
    fake_cloud.evaluations = [{**evaluation, "audits": audits}]
    result = run_it(load(), instance)
    assert result.steps() == {"a": outcome}
    assert result.materializations() == {}
    assert {check: (reported.passed, reported.severity.value) for check, reported in result.checks().items()} == {
        ("a", "x"): (False, "WARN")
    }
    assert "'cached', which this version does not know" in result.log("a")


@EACH_EXECUTOR
def test_of_several_batches_no_audit_is_lost_and_the_blocking_one_stands_above_all(
    cloud: Cloud, load: Any, instance: Any, run_it: Any
) -> None:
    """A failed audit is an error where it failed its evaluation, else a warning."""
    cloud.environment(model("a", audits=("not_null", "unique", "accepted")))
    run = cloud.run("r1")
    run.started("a", 1)
    run.audited("a", "unique", passed=False, batch=1)
    run.audited("a", "accepted", batch=1)
    run.ended("a", batch=1)
    run.started("a", 2)
    run.audited("a", "not_null", passed=False, blocking=True, batch=2)
    run.ended("a", "failed", "audit not_null failed", batch=2)
    run.started("a", 3)
    run.audited("a", "not_null", batch=3)
    run.audited("a", "unique", batch=3)
    run.ended("a", batch=3)
    run.end("failed", "1 model failed")
    result = run_it(load(), instance)
    assert "1 of 3 batches: audit not_null failed" in result.failure(STEP).description
    assert result.materializations() == {}
    assert {
        name: (reported.passed, reported.severity.value) for (_, name), reported in result.checks(STEP).items()
    } == {
        "not_null": (False, "ERROR"),
        "unique": (False, "WARN"),
        "accepted": (True, "WARN"),
    }


@EACH_EXECUTOR
def test_what_an_answer_may_lack_is_not_missed(fake_cloud: FakeCloud, load: Any, instance: Any, run_it: Any) -> None:
    """Null execution times, times without a zone, null descriptions, no optional fields, a message on a success."""
    fake_cloud.dags["prod"] = {
        "environment": "prod",
        "nodes": [
            {"name": "a", "type": "model", "source_type": "sql", "description": None, "audit_names": ["x"]},
            {"name": "bare"},
            {"name": "but", "description": None},
        ],
    }
    fake_cloud.runs = [{"run_id": "r1", "environment": "prod", "status": "failed", "error_message": None}]
    audit = {"name": "x", "status": "success", "execution_time": None, "interval_start": None, "interval_end": None}
    fake_cloud.evaluations = [
        {
            "evaluation_id": "e-a",
            "run_id": "r1",
            "node_name": "a",
            "status": "success",
            "start_at": "2024-05-01T02:00:00",
            "end_at": "2024-05-01T02:00:05",
            "audits": [audit],
        },
        {"evaluation_id": "e-bare", "run_id": "r1", "node_name": "bare", "status": "success"},
        {
            "evaluation_id": "e-but",
            "run_id": "r1",
            "node_name": "but",
            "status": "success",
            "end_at": TIME,
            "error_message": "but the table is empty",
        },
    ]
    result = run_it(load(), instance)
    assert result.steps() == {"a": "success", "bare": "success", "but": "failure"}
    assert "but the table is empty" in result.failure("but").description
    reported = result.materializations()
    assert {asset: metadata["Tobiko Cloud Execution Id"] for asset, metadata in reported.items()} == {
        "a": "e-a",
        "bare": "e-bare",
    }
    utc_2_00_05 = 1714528805.0
    assert reported["a"]["Materialization Timestamp"] == utc_2_00_05
    assert "Materialization Timestamp" not in reported["bare"]
    numbers = {"Batches", "Duration (s)", "Interval Start Timestamp", "Interval End Timestamp", "Rows Processed"}
    assert {asset: numbers & set(metadata) for asset, metadata in reported.items()} == {
        "a": {"Batches", "Duration (s)"},
        "bare": {"Batches"},
    }
    assert reported["a"]["Duration (s)"] == 5.0
    assert check_metadata(instance, "a", "x") == {
        "Tobiko Cloud Evaluation Id": "e-a",
        "Execution Timestamp": utc_2_00_05,
    }


@EACH_EXECUTOR
@pytest.mark.parametrize("with_a_record", [True, False])
def test_a_standalone_audit_checks_its_models_and_materializes_nothing(
    cloud: Cloud, load: Any, instance: Any, run_it: Any, with_a_record: bool
) -> None:
    """Without a record of its own, its evaluation is its result."""
    cloud.environment(model("a"), model("b"), standalone("no_orphans", "a", "b"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.evaluated("b")
    run.started('"no_orphans"')
    if with_a_record:
        run.audited('"no_orphans"', "no_orphans", passed=False)
    run.ended('"no_orphans"')
    run.end()
    result = run_it(load(), instance)
    assert result.success
    assert set(result.materializations()) == {"wh/s/a", "wh/s/b"}
    assert set(result.checks("no_orphans")) == {("wh/s/a", "no_orphans"), ("wh/s/b", "no_orphans")}
    for asset in ("wh/s/a", "wh/s/b"):
        assert check_status(instance, asset, "no_orphans") == ("FAILED" if with_a_record else "SUCCEEDED")


@EACH_EXECUTOR
@pytest.mark.parametrize("above", ["failed", "preempted"])
def test_nothing_below_a_failure_is_executed_and_what_the_cloud_did_there_is_reported_on_the_run(
    cloud: Cloud, load: Any, instance: Any, run_it: Any, above: str
) -> None:
    """Under another executor, nothing reports it."""
    cloud.environment(model("a"), model("b", "a"), model("c", "a", audits=("not_null",)))
    run = cloud.run("r1")
    run.evaluated("a", status=above)
    run.evaluated("c", "not_null")  # evaluated although its upstream failed
    run.end("failed", "1 model failed")
    result = run_it(load(), instance)
    assert result.steps() == {"wh_s_a": "failure"}
    assert result.status == "FAILURE"
    if run_it is run_job:
        assert set(result.materializations()) == {"wh/s/c"}
        assert check_status(instance, "wh/s/c", "not_null") == "SUCCEEDED"
        assert "reported on the run, since its step is not executed" in result.log()


@EACH_EXECUTOR
def test_a_failed_run_whose_tasks_went_well_fails(cloud: Cloud, load: Any, instance: Any, run_it: Any) -> None:
    """Under another executor each op reports its own task only, as documented."""
    cloud.environment(model("a"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.end("failed", "the state could not be written")
    result = run_it(load(), instance)
    assert result.steps() == {"wh_s_a": "success"}
    if run_it is run_in_process:
        assert result.success
        return
    assert result.status == "FAILURE"
    assert "the state could not be written" in result.run_failure()
    assert "no step to re-execute" in result.run_failure()
    assert cloud.base_url in result.run_failure()


@pytest.mark.usefixtures("cloud")
def test_an_environment_that_does_not_exist_has_its_jobs(load: Any) -> None:
    repository = load(environment="dev").get_repository_def()
    assert {"tobiko_cloud_sync_dev", "tobiko_cloud_mirror_run_dev"} <= {job.name for job in repository.get_all_jobs()}
    assert repository.has_sensor_def("tobiko_cloud_track_dev")
