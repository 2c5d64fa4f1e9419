"""A mirror and a sync whose Dagster keeps its runs and events in PostgreSQL: connections, round trips, outages."""

from __future__ import annotations

import threading
import time
from typing import Any

import dagster as dg
import pytest
from dagster_runs import SYNC, Result, meanwhile, run_job, steps_with
from delaying_proxy import DelayingProxy, Traffic
from postgres import Postgres
from scripted_cloud import ScriptedCloud
from waiting import wait_until

from tobikodata.scheduler_facades.dagster._storage import connections, postgres_writer


@pytest.fixture
def instance(in_postgres: dg.DagsterInstance) -> dg.DagsterInstance:
    return in_postgres


def generate(cloud: ScriptedCloud, models: int) -> str:
    """An environment of so many models with two audits each, and a finished run of all of them."""
    nodes = [{"name": f'"lake"."s"."m{n}"', "audits": ["a", "b"]} for n in range(models)]
    cloud.environment("prod", nodes)
    run_id = cloud.run(start_s=-3600, task_s=1, lanes=8)
    cloud.wait_for_end(run_id)
    return run_id


def of(proxy: DelayingProxy, work: Any) -> tuple[Any, Traffic]:
    """What `work` returned, and what it sent to the database."""
    before = proxy.traffic()
    done = work()
    after = proxy.traffic()
    return done, Traffic(
        after.connections - before.connections, after.statements - before.statements, after.open_at_once
    )


def check_whole(result: Result, models: int) -> None:
    assert result.success, result.log()
    assert len(result.materializations()) == models
    assert len(result.checks()) == len(result.events("ASSET_CHECK_EVALUATION")) == 2 * models
    assert set(result.steps().values()) == {"success"}


def test_connections_do_not_grow_with_tasks_and_round_trips_are_fewer_than_events(
    scripted: ScriptedCloud, load: Any, instance: Any, proxy: DelayingProxy
) -> None:
    sent = {}
    for models in (5, 40):
        run_id = generate(scripted, models)
        result, sent[models] = of(proxy, lambda: run_job(load(), instance, **{"tobiko/run_id": run_id}))  # noqa: B023
        check_whole(result, models)
    assert sent[40].connections <= sent[5].connections + 2
    assert sent[40].open_at_once <= 5
    # An event takes Dagster 3 statements or more, each task at least 8 events.
    events = 8 * (40 - 5)
    assert sent[40].statements - sent[5].statements < events


def test_a_sync_keeps_its_connections_too(scripted: ScriptedCloud, load: Any, instance: Any, proxy: Any) -> None:
    sent = {}
    for models in (5, 40):
        generate(scripted, models)
        result, sent[models] = of(proxy, lambda: run_job(load(), instance, SYNC))
        assert result.success
    assert len(instance.get_asset_keys()) == 40
    assert sent[40].connections <= sent[5].connections + 2


def test_nothing_remains_of_it_after_the_run(scripted: ScriptedCloud, load: Any, instance: Any) -> None:
    storages = (connections.event_log_storage(instance), connections.run_storage(instance))
    before = [attributes(storage) for storage in storages]
    run_id = generate(scripted, 3)
    with meanwhile(lambda: wait_until(lambda: "store_event" in vars(storages[0]), 30)):
        check_whole(run_job(load(), instance, **{"tobiko/run_id": run_id}), 3)
    assert [attributes(storage) for storage in storages] == before


def attributes(storage: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(storage).items() if name != "_secondary_index_cache"}


def test_the_database_is_restarted_while_a_run_is_mirrored(
    scripted: ScriptedCloud, load: Any, instance: Any, postgres_server: Postgres
) -> None:
    nodes = [{"name": f'"lake"."s"."m{n}"', "audits": ["a", "b"]} for n in range(12)]
    scripted.environment("prod", nodes)
    run_id = scripted.run(task_s=0.5, lanes=1)

    def restart() -> None:
        for after in (2, 5):
            wait_until(lambda: len(steps_with(watcher, "STEP_SUCCESS")) >= after, 60)  # noqa: B023
            postgres_server.stop()
            time.sleep(0.5)
            postgres_server.start()

    with dg.DagsterInstance.from_config(instance.root_directory) as watcher, meanwhile(restart):
        result = run_job(load(), instance, **{"tobiko/run_id": run_id})
    check_whole(result, 12)


def test_events_of_which_the_answer_is_lost_are_written_once(
    scripted: ScriptedCloud, load: Any, instance: Any, monkeypatch: Any
) -> None:
    """The first insertion arrives, and the connection breaks before its answer."""
    insert, lost = postgres_writer.PostgresWriter._insert, []

    def lossy(self: Any, connection: Any, events: Any) -> list[int]:
        ids = insert(self, connection, events)
        if not lost:
            lost.append(ids)
            connection.connection.dbapi_connection.close()
            connection.exec_driver_sql("SELECT 1")
        return ids

    monkeypatch.setattr(postgres_writer.PostgresWriter, "_insert", lossy)
    run_id = generate(scripted, 6)
    result = run_job(load(), instance, **{"tobiko/run_id": run_id})
    assert lost
    check_whole(result, 6)
    assert len(instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_MATERIALIZATION))) == 6


def test_who_polls_by_id_misses_nothing_and_sees_nothing_twice(
    scripted: ScriptedCloud, load: Any, instance: Any
) -> None:
    """As Dagster's daemon does for asset sensors and automation conditions. (Where two runs write at once, Dagster's own
    insertions may become visible in another order than that of their ids, too.)"""
    run_id = generate(scripted, 60)
    wanted = dg.DagsterEventType.ASSET_MATERIALIZATION
    seen: list[int] = []
    is_over = threading.Event()

    def poll() -> None:
        with dg.DagsterInstance.from_config(instance.root_directory) as own:
            while True:
                last_time = is_over.is_set()
                after = seen[-1] if seen else None
                records = own.get_event_records(dg.EventRecordsFilter(wanted, after_cursor=after), ascending=True)
                seen.extend(record.storage_id for record in records)
                if last_time:
                    return

    with meanwhile(poll):
        try:
            result = run_job(load(), instance, **{"tobiko/run_id": run_id})
        finally:
            is_over.set()
    check_whole(result, 60)
    stored = instance.get_event_records(dg.EventRecordsFilter(wanted), ascending=True)
    assert seen == [record.storage_id for record in stored]
    assert len(seen) == 60
