"""The mirror against a scripted channel: orders and failures that the real executable never produces."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import check_status, count, latest, run_in_process, run_job
from waiting import wait_until

CHAIN = s.manifest(s.node("a"), s.node("b", "a"), s.node("c", "b"))


def test_a_step_starts_and_ends_when_its_task_does(
    definitions: Any, script: Any, instance: Any, tmp_path: Path
) -> None:
    """The task of b ends half a second after its step is seen to have started."""
    script(
        mirror=s.whole(
            s.task("a", "nothing_due"),
            s.started("b"),
            {"wait_for": str(tmp_path / "seen")},
            s.success("b"),
            s.success("c"),
            s.done(),
        )
    )

    def watch() -> None:
        wait_until(lambda: _shown(instance, "STEP_START", "wh_s_b"))
        time.sleep(0.5)
        (tmp_path / "seen").touch()

    thread = threading.Thread(target=watch)
    thread.start()
    result = run_job(definitions(CHAIN), instance)
    thread.join()
    assert result.success
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "success", "wh_s_c": "success"}
    (start,) = result.events("STEP_START", "wh_s_b")
    (end,) = result.events("STEP_SUCCESS", "wh_s_b")
    assert end.timestamp - start.timestamp >= 0.5
    assert "nothing was due" in result.log("wh_s_a")
    assert set(result.materializations("wh_s_b")) == {"wh/s/b"}
    assert result.tags["tobiko/mirror"] == "complete"
    assert result.tags["tobiko/run_id"] == "r1"


def test_a_verdict_ends_its_step_while_the_run_goes_on(
    definitions: Any, script: Any, instance: Any, tmp_path: Path
) -> None:
    """The rest is reported only when Dagster shows the first step as ended."""
    seen = tmp_path / "seen"
    script(mirror=s.whole(s.success("a"), {"wait_for": str(seen)}, s.success("b"), s.success("c"), s.done()))
    defs = definitions(CHAIN)
    ended: list[bool] = []

    def watch() -> None:
        try:
            wait_until(lambda: _shown(instance, "STEP_SUCCESS", "wh_s_a"))
            ended.append(True)
        finally:
            seen.touch()

    thread = threading.Thread(target=watch)
    thread.start()
    assert run_job(defs, instance).success
    thread.join()
    assert ended


def test_one_executable_serves_the_whole_run(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=s.whole(s.success("a"), s.success("b"), s.success("c"), s.done()))
    run_job(definitions(CHAIN), instance)
    assert len(script.calls("mirror")) == 1


def test_two_steps_are_open_at_once(definitions: Any, script: Any, instance: Any) -> None:
    manifest = s.manifest(s.node("a"), s.node("b"))
    script(mirror=s.whole(s.started("a"), s.started("b"), {"sleep": 0.3}, s.success("a"), s.success("b"), s.done()))
    result = run_job(definitions(manifest), instance)
    starts = [result.events("STEP_START", step)[0].timestamp for step in ("wh_s_a", "wh_s_b")]
    ends = [result.events("STEP_SUCCESS", step)[0].timestamp for step in ("wh_s_a", "wh_s_b")]
    assert max(starts) < min(ends)


def test_a_verdict_before_its_upstreams_waits_for_it(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=s.whole(s.success("c"), s.success("b"), {"sleep": 0.3}, s.success("a"), s.done()))
    result = run_job(definitions(CHAIN), instance)
    assert result.success
    order = [entry.step_key for entry in result.events("STEP_SUCCESS")]
    assert order == ["wh_s_a", "wh_s_b", "wh_s_c"]
    assert set(result.materializations("wh_s_c")) == {"wh/s/c"}


def test_a_failure_carries_message_and_links(definitions: Any, script: Any, instance: Any) -> None:
    script(
        mirror=s.whole(s.success("a"), s.task("b", "failure", reason="table is missing"), s.done("failure", "1 failed"))
    )
    result = run_job(definitions(CHAIN), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    failure = result.failure("wh_s_b")
    assert "table is missing" in failure.description
    assert failure.metadata["Debugger"].value == "http://cloud/b"
    assert failure.metadata["Log Link"].value == "http://cloud/b/log"
    assert "Dependencies for step wh_s_c failed" in result.log()
    assert "Steps failed" in result.run_failure()
    assert result.tags["tobiko/mirror"] == "complete"


def test_what_was_evaluated_below_a_failure_is_reported_on_the_run(
    definitions: Any, script: Any, instance: Any
) -> None:
    manifest = s.manifest(s.node("a"), s.node("b", "a"), s.node("c", "b", checks=("not_null",)))
    script(
        mirror=s.whole(
            # c's verdict is there before a's failure, b's comes after it
            s.success("c", checks=("not_null",)),
            s.task("a", "failure", reason="boom"),
            s.success("b"),
            s.done("failure", "a failed"),
        )
    )
    result = run_job(definitions(manifest), instance)
    assert result.steps() == {"wh_s_a": "failure"}
    assert set(result.materializations()) == {"wh/s/b", "wh/s/c"}
    assert check_status(instance, "wh/s/c", "not_null") == "SUCCEEDED"
    assert "reported on the run, since its step is not executed" in result.log()


def test_a_node_that_the_job_does_not_know_is_reported_on_the_run(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=s.whole(s.success("new"), s.success("a"), s.success("b"), s.success("c"), s.done()))
    result = run_job(definitions(CHAIN), instance)
    assert result.success
    assert "wh/s/new" in result.materializations()
    assert "this job does not know it" in result.log()


def test_a_late_result_is_reported_on_the_run(definitions: Any, script: Any, instance: Any) -> None:
    script(
        mirror=s.whole(
            s.task("a", "nothing_due"),
            s.success("a", at=2000.0, late=True, warnings=["evaluated after its verdict"]),
            s.success("b"),
            s.success("c"),
            s.done(),
        )
    )
    result = run_job(definitions(CHAIN), instance)
    assert result.success
    assert "wh/s/a" in result.materializations()
    assert "evaluated after its verdict" in result.log()


def test_a_skipped_task_is_a_skipped_step(definitions: Any, script: Any, instance: Any) -> None:
    script(
        mirror=s.whole(
            s.success("a"),
            s.task("b", "skipped", reason="the run ended before"),
            s.task("c", "skipped", reason="the run ended before"),
            s.done("failure", "worker lost"),
        )
    )
    result = run_job(definitions(CHAIN), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "skipped", "wh_s_c": "skipped"}
    assert "WARNING" in {entry.level for entry in result.entries} or "30" in result.log("wh_s_b")
    failure = result.run_failure()
    assert "worker lost" in failure
    assert "no step to re-execute" in failure
    assert "http://cloud/r1" in failure
    assert result.tags["tobiko/mirror"] == "complete"


def test_tasks_without_a_result_end_as_the_remote_run_did(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=s.whole(s.success("a"), s.done()))
    result = run_job(definitions(CHAIN), instance)
    assert result.success
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "success", "wh_s_c": "success"}
    assert "without a result for this task" in result.log("wh_s_c")

    script(mirror=s.whole(s.success("a", "e2", 2000.0), s.done("failure", "crashed")))
    result = run_job(definitions(CHAIN), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "skipped", "wh_s_c": "skipped"}


def test_an_environment_without_models_has_a_job_that_mirrors(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=s.whole(s.success("new"), s.done()))
    result = run_job(definitions(s.manifest()), instance)
    assert result.success
    assert "wh/s/new" in result.materializations()

    script(mirror=s.whole(s.done("failure", "crashed")))
    result = run_job(definitions(s.manifest()), instance)
    assert result.status == "FAILURE"
    assert "crashed" in result.run_failure()


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ([{"stderr": "panicked at watcher.rs"}, {"exit": 101}], "panicked at watcher.rs"),
        ([{"stderr": "error: the cloud is gone"}, {"exit": 3}], "the cloud is gone"),
        ([{"exit": 0}], "exited with code 0"),
        ([s.done("gave_up", "the cloud is out of reach for 15 minutes")], "out of reach for 15 minutes"),
    ],
)
def test_a_channel_that_breaks_fails_the_run(
    definitions: Any, script: Any, instance: Any, end: list[Any], message: str
) -> None:
    script(mirror=[s.OPENED, s.run(), *s.success("a"), s.started("b"), *end])
    result = run_job(definitions(CHAIN), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    assert message in result.run_failure()
    assert message in result.failure("wh_s_b").description
    assert "tobiko/mirror" not in result.tags


def test_an_executable_that_dies_before_it_opens_is_named(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=[{"stderr": "libssl not found"}, {"exit": 127}])
    result = run_job(definitions(CHAIN), instance)
    assert result.status == "FAILURE"
    failure = result.run_failure()
    assert "scripted_executable.py" in failure
    assert "127" in failure
    assert "libssl not found" in failure


def test_an_executable_that_is_killed_fails_the_run(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=[s.OPENED, s.run(), *s.success("a"), {"sleep": 60}])
    killer = threading.Thread(target=lambda: os.kill(_pid(script), signal.SIGKILL))
    killer.start()
    result = run_job(definitions(CHAIN), instance)
    killer.join()
    assert result.status == "FAILURE"
    assert "SIGKILL" in result.run_failure()


def test_lines_that_cannot_be_read_do_not_hide_the_next(
    definitions: Any, script: Any, instance: Any, capsys: Any
) -> None:
    script(
        mirror=s.whole(
            {"raw": "no message at all\n"},
            {"raw": '["__dagster_pipes_version", "a list"]\n'},
            s.send("report_weather", sky="blue"),
            {"raw": '{"__dagster_pipes_version": "0.1", "method": "report_asset_mat'},
            {"sleep": 0.1},
            {"raw": 'erialization"}\n'},
            {"raw": '{"__dagster_pipes_version": "0.1", "meth\n'},
            s.success("a"),
            s.success("b"),
            s.success("c"),
            s.done(),
        )
    )
    result = run_job(definitions(CHAIN), instance)
    assert result.success
    assert len(result.materializations()) == 3
    assert result.log().count("was not understood") == 4
    assert "no message at all\n" in capsys.readouterr().out


def test_an_executable_that_prints_much_does_not_hang(definitions: Any, script: Any, instance: Any) -> None:
    script(
        mirror=s.whole(
            *[{"stdout": "x" * 100_000} for _ in range(20)],
            *[{"stderr": "y" * 100_000} for _ in range(20)],
            s.success("a"),
            s.success("b"),
            s.success("c"),
            s.done(),
        )
    )
    result = run_job(definitions(CHAIN), instance)
    assert result.success
    (captured,) = result.events("LOGS_CAPTURED")
    key = instance.compute_log_manager.build_log_key_for_run(
        result.run_id, captured.dagster_event.logs_captured_data.file_key
    )
    data = instance.compute_log_manager.get_log_data(list(key))
    assert data.stderr is not None
    assert data.stderr.count(b"y") == 2_000_000


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelled_fails_open_steps_and_ends_the_executable(
    definitions: Any, script: Any, instance: Any, stubborn: bool
) -> None:
    script(
        mirror=[
            *([{"stubborn": True}] if stubborn else []),
            s.OPENED,
            s.run(),
            *s.success("a"),
            s.started("b"),
            {"sleep": 600},
        ]
    )
    defs = definitions(CHAIN)
    cancelled_at: list[float] = []

    def cancel() -> None:
        wait_until(lambda: _shown(instance, "STEP_START", "wh_s_b"))
        instance.report_run_canceling(instance.get_runs()[0])
        cancelled_at.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    canceller = threading.Thread(target=cancel)
    canceller.start()
    result = run_job(defs, instance)
    took_s = time.monotonic() - cancelled_at[0]
    canceller.join()
    assert result.status == "CANCELED"
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    assert "cancelled" in result.failure("wh_s_b").description
    assert not _lives(_pid(script))
    # SIGINT is enough, unless the executable ignores it: then SIGKILL after 5 s.
    assert (took_s >= 5) is stubborn, took_s
    assert "tobiko/mirror" not in result.tags


def test_older_events_never_replace_newer_ones(definitions: Any, script: Any, instance: Any) -> None:
    manifest = s.manifest(s.node("a", checks=("not_null",)))
    defs = definitions(manifest)
    script(mirror=s.whole(s.success("a", "new", 2000.0, checks=("not_null",)), s.done()))
    assert run_job(defs, instance).success
    script(mirror=s.whole(s.success("a", "old", 1000.0, checks=("not_null",)), s.done()))
    result = run_job(defs, instance)
    assert result.success
    assert result.materializations() == {}
    assert result.checks() == {}
    assert "is not written: Dagster has a newer one" in result.log("wh_s_a")
    assert (latest(instance, "wh/s/a") or {})["Tobiko Cloud Execution Id"] == "new"


def test_an_evaluation_that_dagster_has_is_not_written_twice(definitions: Any, script: Any, instance: Any) -> None:
    manifest = s.manifest(s.node("a", checks=("not_null",)))
    defs = definitions(manifest)
    script(mirror=s.whole(s.success("a", checks=("not_null",)), s.done()))
    assert run_job(defs, instance).success
    result = run_job(defs, instance)
    assert result.success
    assert "is already in Dagster" in result.log("wh_s_a")
    assert count(instance, "wh/s/a") == 1


def test_materializations_of_the_original_are_understood(definitions: Any, script: Any, instance: Any) -> None:
    defs = definitions(s.manifest(s.node("a")))
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            dg.AssetKey(["wh", "s", "a"]),
            metadata={
                "Tobiko Cloud Execution Id": "theirs",
                "Materialization Timestamp": dg.MetadataValue.timestamp(5000.0),
            },
        )
    )
    script(mirror=s.whole(s.success("a", "e1", 1000.0), s.done()))
    assert run_job(defs, instance).materializations() == {}
    script(mirror=s.whole(s.success("a", "e2", 6000.0), s.done()))
    assert set(run_job(defs, instance).materializations()) == {"wh/s/a"}


def test_checks_passed_and_failed_are_shown(definitions: Any, script: Any, instance: Any) -> None:
    manifest = s.manifest(s.node("a", checks=("good", "bad", "worse")))
    script(
        mirror=s.whole(
            s.materialized("a", "e", 1000.0),
            s.checked("a", "good", "e", 1000.0),
            s.checked("a", "bad", "e", 1000.0, passed=False),
            s.checked("a", "worse", "e", 1000.0, passed=False, severity="ERROR"),
            s.task("a", "success", materialized=1, checks=3),
            # the same check again, on the same run
            s.checked("a", "good", "e2", 2000.0, passed=False),
            s.task("a", "success", checks=1, late=True),
            s.done(),
        )
    )
    result = run_job(definitions(manifest), instance)
    assert result.success, result.log()
    assert check_status(instance, "wh/s/a", "bad") == "FAILED"
    assert check_status(instance, "wh/s/a", "worse") == "FAILED"
    assert check_status(instance, "wh/s/a", "good") == "FAILED"
    severities = {name: check.severity.value for (_, name), check in result.checks().items()}
    assert severities == {"good": "WARN", "bad": "WARN", "worse": "ERROR"}


def test_which_remote_run_is_mirrored(definitions: Any, script: Any, instance: Any) -> None:
    script(mirror=s.whole(s.success("a"), s.done()))
    defs = definitions(s.manifest(s.node("a")))

    def requested(**arguments: Any) -> str:
        run_job(defs, instance, **arguments)
        return next(a for a in script.calls("mirror")[-1]["argv"] if a.startswith(("--run-id", "--newest")))

    assert requested(config={"run_id": "by-config"}) == "--run-id=by-config"
    assert requested(**{"tobiko/run_id": "by-tag"}) == "--run-id=by-tag"
    assert requested(**{"dagster/run_key": "by-key"}) == "--run-id=by-key"
    assert requested(**{"dagster/run_key": "by-key#2"}) == "--run-id=by-key"
    before = time.time()
    seconds = float(requested().removeprefix("--newest-before="))
    assert before - 0.001 <= seconds <= time.time() + 1, (
        "a remote run that was there when it was launched is not passed over"
    )


def test_under_another_executor_each_op_reports_its_own_task(definitions: Any, script: Any, instance: Any) -> None:
    manifest = s.manifest(s.node("a", checks=("not_null",)))
    defs = definitions(manifest)
    script(mirror=s.whole(s.started("a"), s.success("a", checks=("not_null",)), s.done()))
    result = run_in_process(defs, instance)
    assert result.success
    assert set(result.materializations("wh_s_a")) == {"wh/s/a"}
    assert check_status(instance, "wh/s/a", "not_null") == "SUCCEEDED"
    assert '--node="wh"."s"."a"' in script.calls("mirror")[-1]["argv"]

    script(mirror=s.whole(s.task("a", "skipped", reason="the run ended"), s.done()))
    result = run_in_process(defs, instance)
    assert result.steps() == {"wh_s_a": "success"}
    assert "was skipped in Tobiko Cloud: the run ended" in result.log("wh_s_a")

    script(mirror=s.whole(s.task("a", "failure", reason="boom"), s.done()))
    result = run_in_process(defs, instance)
    assert result.steps() == {"wh_s_a": "failure"}
    assert "boom" in result.failure("wh_s_a").description

    script(mirror=[s.OPENED, {"stderr": "error: gone"}, {"exit": 3}])
    result = run_in_process(defs, instance)
    assert result.steps() == {"wh_s_a": "failure"}


def _pid(script: Any) -> int:
    deadline = time.monotonic() + 20
    while not script.calls("mirror"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # let it open the channel
    return int(script.calls("mirror")[-1]["pid"])


def _shown(instance: Any, kind: str, step: str) -> bool:
    runs = instance.get_runs(limit=1)
    entries = instance.all_logs(runs[0].run_id, of_type=dg.DagsterEventType(kind)) if runs else []
    return step in {entry.step_key for entry in entries}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}").exists()
