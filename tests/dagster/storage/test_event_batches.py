"""Events that are written in batches are those that Dagster would have written one by one."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import SYNC, Result, meanwhile, run_job
from waiting import wait_until

from tobikodata.scheduler_facades.dagster._storage import connections, event_batches

NAMES = ("a", "b", "c", "d")
CHECKS = ("not_null", "unique")
MANIFEST = s.manifest(s.node("a", checks=CHECKS), s.node("b", "a", checks=CHECKS), s.node("c", "b"), s.node("d"))
MIRROR = s.whole(
    s.started("a"),
    s.started("d"),
    s.success("a", checks=CHECKS),
    s.started("b"),
    s.success("d", warnings=["odd"]),
    [s.checked("b", "not_null", "e-b", 1000.0, passed=False), s.checked("b", "unique", "e-b", 1000.0)],
    s.task("b", "failure", checks=2, reason="boom", at=1000.0),
    s.task("c", "skipped", reason="upstream"),
    s.done("failure", "1 failed"),
)
AGAIN = s.whole(*(s.success(name, f"later-{name}", at=2000.0, checks=CHECKS) for name in ("a", "b")), s.done())


@pytest.fixture
def defs(definitions: Any, script: Any) -> dg.Definitions:
    script(mirror=MIRROR, sync=AGAIN)
    return definitions(MANIFEST)  # type: ignore[no-any-return]


def what_is_there(instance: dg.DagsterInstance, result: Result) -> dict[str, Any]:
    """What of a run, and of its assets and checks, does not differ from one time to the other."""
    events = [
        (entry.dagster_event.event_type_value if entry.dagster_event else entry.user_message, entry.step_key)
        for entry in result.entries
    ]
    # In process, Dagster names it.
    events = [(kind, step) for kind, step in events if kind not in ("ENGINE_EVENT", "LOGS_CAPTURED")]
    keys = [dg.AssetKey(["wh", "s", name]) for name in NAMES]
    assets = {}
    for record in instance.get_asset_records(keys):
        entry = record.asset_entry
        latest = entry.last_materialization.asset_materialization if entry.last_materialization else None
        assets[entry.asset_key.to_user_string()] = (
            entry.last_run_id == result.run_id,
            {name: value.value for name, value in latest.metadata.items()} if latest else None,
        )
    checks = {}
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(key, check) for key in keys for check in CHECKS]
    ).items():
        checks[(key.asset_key.to_user_string(), key.name)] = (record.status.value, record.run_id == result.run_id)
    return {"events": events, "assets": assets, "checks": checks}


def test_the_event_log_is_the_one_that_dagster_would_have_written(
    defs: Any, instance: Any, monkeypatch: Any, tmp_path: Any
) -> None:
    batched = [what_is_there(instance, run_job(defs, instance, job)) for job in ("tobiko_cloud_mirror_run_prod", SYNC)]
    monkeypatch.setattr(event_batches, "_writer_of", lambda _storage: None)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    with dg.DagsterInstance.from_config(str(tmp_path / "other")) as other:
        one_by_one = [what_is_there(other, run_job(defs, other, job)) for job in ("tobiko_cloud_mirror_run_prod", SYNC)]
    assert batched == one_by_one
    assert batched[0]["checks"][("wh/s/b", "not_null")] == ("FAILED", True)


def test_events_are_numbered_in_the_order_in_which_they_happened(defs: Any, instance: Any) -> None:
    result = run_job(defs, instance)
    records = instance.get_records_for_run(result.run_id).records
    ids = [record.storage_id for record in records]
    assert ids == sorted(ids)
    events = [record.event_log_entry.dagster_event for record in records]
    kinds = [event.event_type_value for event in events if event and event.step_key == "wh_s_a"]
    assert [kind for kind in kinds if kind.startswith("STEP_")] == ["STEP_START", "STEP_OUTPUT", "STEP_SUCCESS"]
    assert kinds.index("ASSET_MATERIALIZATION") < kinds.index("STEP_SUCCESS")


def test_who_reads_in_the_same_process_finds_what_was_stored_before(defs: Any, instance: Any) -> None:
    run = instance.create_run_for_job(defs.get_job_def(SYNC))
    storage = connections.event_log_storage(instance)
    with event_batches.batched_events(instance) as flush:
        for n in range(3):
            instance.report_dagster_event(
                dg.DagsterEvent(dg.DagsterEventType.STEP_START.value, SYNC, step_key=f"s{n}", event_specific_data=None),
                run.run_id,
            )
            assert len(instance.all_logs(run.run_id)) == n + 1
        assert "store_event" in vars(storage)
        flush()
    assert not {"store_event", "_connect", "has_table"} & set(vars(storage))
    assert len(instance.all_logs(run.run_id)) == 3


def test_log_lines_of_several_threads_are_all_written(defs: Any, instance: Any) -> None:
    run = instance.create_run_for_job(defs.get_job_def(SYNC))

    def report(thread: int) -> None:
        for n in range(100):
            instance.report_engine_event(f"{thread} {n}", run)
            instance.report_dagster_event(
                dg.DagsterEvent(
                    dg.DagsterEventType.STEP_START.value, SYNC, step_key=f"{thread}_{n}", event_specific_data=None
                ),
                run.run_id,
            )

    with event_batches.batched_events(instance):
        threads = [threading.Thread(target=report, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    started = [entry for entry in instance.all_logs(run.run_id) if entry.step_key]
    assert len(started) == 400
    for thread in range(4):
        own = [entry.step_key for entry in started if entry.step_key.startswith(f"{thread}_")]
        assert own == [f"{thread}_{n}" for n in range(100)]


def test_what_waits_is_written_when_the_run_breaks_off(defs: Any, instance: Any) -> None:
    run = instance.create_run_for_job(defs.get_job_def(SYNC))
    event = dg.DagsterEvent(dg.DagsterEventType.STEP_START.value, SYNC, step_key="s", event_specific_data=None)

    def break_off() -> None:
        with event_batches.batched_events(instance):
            instance.report_dagster_event(event, run.run_id)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_off()
    assert len(instance.all_logs(run.run_id)) == 1


def test_another_process_may_hold_sqlites_index_for_a_while(defs: Any, home: Any) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        index = connections.event_log_storage(instance).path_for_shard("index")
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with sqlite3.connect(index, timeout=30, isolation_level=None) as other:
                other.execute("BEGIN IMMEDIATE")
                held.set()
                let_go.wait(30)
                time.sleep(1)  # the run is waiting by now
                other.execute("COMMIT")

        def release() -> None:
            wait_until(lambda: any(not run.is_finished for run in instance.get_runs(limit=1)), 30)
            let_go.set()

        with meanwhile(hold):
            held.wait(30)
            with meanwhile(release):
                result = run_job(defs, instance)
        assert len(result.materializations()) == 2
        assert len(result.checks()) == 4
