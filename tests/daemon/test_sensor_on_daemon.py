"""The sensor on a real daemon: what hangs on ticks, run keys, the run queue and processes that die.

What can be seen tick by tick without a daemon is in tests/dagster/test_sensor.py.
"""

from __future__ import annotations

import json
from typing import Any

from daemon_stack import Run, Stack


def one_at_a_time(runs: list[Run]) -> bool:
    """Each was asked for when the one before had ended. SQLite keeps only the second in which a run was made."""
    return all(before.ended_at and int(before.ended_at) <= after.created_at for before, after in zip(runs, runs[1:]))


def in_order(stack: Stack, runs: list[Run]) -> bool:
    """Each has written when the one before had ended. They may have been launched at the same time."""
    kinds = {"STEP_START", "STEP_SUCCESS"}  # a materialization has the time of its evaluation

    def times(run: Run) -> list[float]:
        events = [(entry.dagster_event, entry.timestamp) for entry in stack.instance.all_logs(run.run.run_id)]
        return [at for event, at in events if event and event.event_type_value in kinds]

    written = [times(run) for run in runs]
    assert all(written)
    return all(max(before) <= min(after) for before, after in zip(written, written[1:]))


def test_a_bare_run_id_and_40_missed_runs_the_newest_25_and_a_warning(stack: Stack) -> None:
    # Its sensor was stopped then; it may have asked for another one.
    keys = [run.key for run in stack.mirrors("paused")]
    assert keys == [f"paused-{n}" for n in range(16, 26)][: len(keys)]
    assert any("15 remote runs were missed" in warning for warning in stack.warnings("paused"))
    assert stack.syncs("paused") == []


def test_the_mark_of_the_original_that_it_has_synced_mirrors_the_newest_run(stack: Stack) -> None:
    (run,) = stack.mirrored("original", "original-2")
    assert run.status == "SUCCESS"
    assert stack.syncs("original") == []
    stack.stop_sensor("original")


def test_a_cursor_whose_run_is_gone_mirrors_the_newest_run_and_syncs_once(stack: Stack) -> None:
    stack.mirrored("gone", "gone-2")
    stack.ticks_once_more("gone")
    assert [run.key for run in stack.syncs("gone")] == ["__initial_sync__"]
    assert any("does not know run long-gone" in warning for warning in stack.warnings("gone"))
    stack.stop_sensor("gone")


def test_a_run_in_progress_at_the_first_sync_is_mirrored(stack: Stack) -> None:
    stack.wait_for("its mirror", lambda: stack.mirrors("going"))
    stack.cloud.order("runs/going-1/end", {"status": "success"})
    (run,) = stack.mirrored("going", "going-1")
    assert run.status == "SUCCESS"
    assert [run.key for run in stack.syncs("going")] == ["__initial_sync__"]
    stack.stop_sensor("going")


def test_a_mirror_that_was_killed_is_asked_for_again_twice(stack: Stack) -> None:
    def victim(key: str) -> Run | None:
        """A mirror whose executable runs."""
        last = stack.mirrors("killed")[-1:]
        alive = any("--run-id=killed-1" in process.argv for process in stack.dagster.mirrors())
        return last[0] if last and last[0].key == key and last[0].status == "STARTED" and alive else None

    stack.wait_for("the first mirror", lambda: victim("killed-1"))
    (executable,) = [process for process in stack.dagster.mirrors() if "--run-id=killed-1" in process.argv]
    executable.kill()
    stack.wait_for("the second mirror", lambda: victim("killed-1#2"))
    (executable,) = [process for process in stack.dagster.mirrors() if "--run-id=killed-1" in process.argv]
    (worker,) = [process for process in stack.dagster.processes() if process.pid == executable.parent]
    worker.kill()
    stack.wait_for("the third mirror", lambda: victim("killed-1#3"))
    stack.cloud.order("runs/killed-1/end", {"status": "success"})
    stack.cloud.run(id="killed-2", environment="killed", task_s=0.1)
    runs = stack.mirrored("killed", "killed-1", "killed-1#2", "killed-1#3", "killed-2")
    assert [run.status for run in runs] == ["FAILURE", "FAILURE", "SUCCESS", "SUCCESS"]
    assert one_at_a_time(runs)
    assert [run.run.tags["tobiko/run_id"] for run in runs] == [*["killed-1"] * 3, "killed-2"]
    stack.stop_sensor("killed")


def test_a_mirror_that_a_person_cancelled_is_not_asked_for_again(stack: Stack) -> None:
    def started() -> Run | None:
        runs = stack.mirrors("cancelled")
        return runs[0] if runs and runs[0].status == "STARTED" else None

    stack.terminate(stack.wait_for("the mirror", started))
    stack.wait_for("its end", lambda: stack.mirrors("cancelled")[0].run.is_finished)
    stack.ticks_once_more("cancelled")
    assert stack.cloud.truth("cancelled-1")["end_at"] is None, "the remote run goes on untouched"
    stack.cloud.run(id="cancelled-2", environment="cancelled", task_s=0.1)
    runs = stack.mirrored("cancelled", "cancelled-1", "cancelled-2")
    assert [run.status for run in runs] == ["CANCELED", "SUCCESS"]
    stack.stop_sensor("cancelled")


def test_three_runs_between_two_ticks_and_an_emptied_cursor(stack: Stack) -> None:
    runs = stack.mirrored("several", "several-1", "several-2", "several-3")
    assert in_order(stack, runs)
    assert {run.status for run in runs} == {"SUCCESS"}
    assert stack.newest_materialization("several") == "several-3"

    stack.empty_cursor("several")
    stack.wait_for("another sync", lambda: len(stack.syncs("several")) == 2)
    stack.ticks_once_more("several")
    assert [run.key for run in stack.syncs("several")] == ["__initial_sync__", "__initial_sync__#2"]
    assert len(stack.mirrors("several")) == 3


def test_an_outage_ends_the_tick_within_20_s_and_leaves_the_cursor_alone(stack: Stack) -> None:
    def given_up() -> Any:
        return next((tick for tick in stack.ticks("outage") if "no answer" in (tick["skipReason"] or "")), None)

    tick = stack.wait_for("a tick during the outage", given_up)
    assert tick["status"] == "SKIPPED"
    assert "/api/v1/runs is not available" in tick["skipReason"]
    # It waited for the cloud, and it ended by itself: Dagster breaks a tick off after 60 s.
    assert tick["endTimestamp"] - tick["timestamp"] > 10
    assert json.loads(str(stack.cursor("outage")))["last"] == "outage-0"
    stack.cloud.clear_faults()
    stack.cloud.run(id="outage-1", environment="outage", task_s=0.1)
    stack.mirrored("outage", "outage-1")


def test_a_reload_that_hangs_or_fails_holds_no_run_up(stack: Stack) -> None:
    for environment, why in (("hangs", "gave no answer within 20 s"), ("fails", "refused")):
        (run,) = stack.mirrored(environment, f"{environment}-1")
        assert run.status == "SUCCESS"
        assert any("was not reloaded" in warning and why in warning for warning in stack.warnings(environment))
        (tick,) = [tick for tick in stack.ticks(environment) if tick["runKeys"]]
        assert tick["status"] == "SUCCESS", "Dagster breaks a tick off after 60 s"


def test_the_daemon_was_down_while_eight_runs_came(stack: Stack) -> None:
    """Five mirrors are requested at once, then three."""
    runs = stack.mirrored("downtime", *(f"downtime-{n}" for n in range(1, 9)))
    assert in_order(stack, runs)
    assert {run.status for run in runs} == {"SUCCESS"}
    assert stack.newest_materialization("downtime") == "downtime-8"
    requested = [tick["runKeys"] for tick in stack.ticks("downtime") if tick["runKeys"]]
    assert [len(keys) for keys in requested] == [5, 3]
