"""Mirrors that were requested together: each waits for those of older remote runs before it writes anything."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster_runs import EACH_EXECUTOR, MIRROR, Result, meanwhile, run_job
from waiting import wait_until

from tobikodata.scheduler_facades.dagster._mirror import heartbeat, turn

ONE = s.manifest(s.node("a"))
WAITING = "Waiting for the mirrors of older remote runs: r1"
ALIVE = {".dagster/tobiko_alive_at": "a while ago"}
COMPLETE = {"tobiko/mirror": "complete"}
EVENTS = {
    "STARTING": dg.DagsterEventType.RUN_STARTING,
    "STARTED": dg.DagsterEventType.RUN_START,
    "SUCCESS": dg.DagsterEventType.RUN_SUCCESS,
    "FAILURE": dg.DagsterEventType.RUN_FAILURE,
    "CANCELED": dg.DagsterEventType.RUN_CANCELED,
}


@pytest.fixture
def defs(definitions: Any, script: Any) -> Any:
    script(mirror=s.whole(s.success("a"), s.done(run_id="r2"), run_id="r2"))
    return definitions(ONE)


def older(instance: Any, defs: dg.Definitions, status: str = "NOT_STARTED", key: str = "r1", **tags: str) -> str:
    """The mirror of an older run, in some state. Nobody executes it."""
    tags = {"dagster/run_key": key, "tobiko/run_id": key, **tags}
    run = instance.create_run_for_job(defs.get_job_def(MIRROR), tags=tags)
    becomes(instance, run.run_id, status)
    return str(run.run_id)


def becomes(instance: Any, run_id: str, status: str) -> None:
    if status in EVENTS:
        event = dg.DagsterEvent(event_type_value=EVENTS[status].value, job_name=MIRROR)
        instance.report_dagster_event(event, run_id)
    assert instance.get_run_by_id(run_id).status.value == status


def is_finished(instance: Any) -> bool:
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": "r2"}), limit=1)
    return bool(runs) and runs[0].is_finished


@contextmanager
def ending(instance: Any, run_id: str, status: str, when: Callable[[], Any]) -> Iterator[None]:
    """Lets the older mirror end when a fact has come true; if it never does, too, so that nothing waits for ever."""

    def end() -> None:
        try:
            wait_until(when)
        finally:
            becomes(instance, run_id, status)

    with meanwhile(end):
        yield


def after(*keys: str, **more: str) -> dict[str, str]:
    """The tags of the mirror of r2, as the sensor requests it."""
    tags = {"dagster/run_key": "r2", "tobiko/run_id": "r2", ".dagster/tobiko_after": json.dumps(keys)}
    return {**tags, **more}


def is_waiting(instance: Any) -> bool:
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": "r2"}), limit=1)
    logs = instance.all_logs(runs[0].run_id) if runs else []
    return any(WAITING in (entry.user_message or "") for entry in logs)


@EACH_EXECUTOR
def test_a_mirror_begins_when_those_before_it_have_ended(defs: Any, script: Any, instance: Any, run_it: Any) -> None:
    first = older(instance, defs, "STARTED")
    with ending(instance, first, "SUCCESS", lambda: is_waiting(instance) and not script.calls("mirror")):
        result = run_it(defs, instance, **after("r1"))
    assert result.success
    assert result.log().count(WAITING) == 1
    assert len(script.calls("mirror")) == 1


@pytest.mark.parametrize(
    ("status", "tags"),
    [("SUCCESS", {}), ("CANCELED", {}), ("FAILURE", COMPLETE)],
    ids=["succeeded", "was cancelled by a person", "failed as its remote run did"],
)
def test_it_begins_at_once_after_one_that_has_ended(
    defs: Any, instance: Any, status: str, tags: dict[str, str]
) -> None:
    older(instance, defs, status, **tags)
    result = run_job(defs, instance, **after("r1"))
    assert result.success
    assert WAITING not in result.log()


def test_one_whose_forerunner_died_writes_nothing_and_dies_with_it(defs: Any, script: Any, instance: Any) -> None:
    first = older(instance, defs, "STARTED")
    with ending(instance, first, "FAILURE", lambda: is_waiting(instance)):
        result = run_job(defs, instance, **after("r1"))
    assert result.status == "FAILURE"
    assert "the mirror of remote run r1, which comes before this one, stopped before completion" in result.run_failure()
    assert "tobiko/mirror" not in result.tags
    assert script.calls("mirror") == []
    assert result.materializations() == {}
    assert result.steps() == {}


def test_it_waits_for_all_before_it_whatever_happens_to_the_one_in_between(
    defs: Any, script: Any, instance: Any
) -> None:
    """A person has cancelled it while it waited itself."""
    first = older(instance, defs, "STARTED")
    older(instance, defs, "CANCELED", key="r1b")
    with ending(instance, first, "SUCCESS", lambda: is_waiting(instance) and not script.calls("mirror")):
        assert run_job(defs, instance, **after("r1", "r1b")).success


def test_it_begins_after_one_that_died_for_the_last_time(defs: Any, instance: Any) -> None:
    older(instance, defs, "FAILURE", key="r1#3")
    assert run_job(defs, instance, **after("r1#3", **{".dagster/tobiko_after_any_end": "true"})).success


def test_one_whose_worker_went_down_with_its_machine_has_died(defs: Any, instance: Any, monkeypatch: Any) -> None:
    first = older(instance, defs, "STARTED")
    instance.add_run_tags(first, ALIVE)
    monkeypatch.setattr(heartbeat, "SILENCE_LIMIT_S", 0.0)
    monkeypatch.setattr(turn, "WAKE_S", 0.0)
    with ending(instance, first, "SUCCESS", lambda: is_finished(instance)):
        result = run_job(defs, instance, **after("r1"))
    assert result.status == "FAILURE"
    assert "stopped before completion" in result.run_failure()


def test_one_that_was_deleted_is_not_waited_for(defs: Any, instance: Any, monkeypatch: Any) -> None:
    first = older(instance, defs, "STARTED")
    monkeypatch.setattr(turn, "ABSENT_LIMIT_S", 0.5)

    def delete() -> None:
        wait_until(lambda: is_waiting(instance))
        instance.delete_run(first)

    with meanwhile(delete):
        result = run_job(defs, instance, **after("r1"))
    assert result.success
    assert "the mirror of remote run r1 was deleted" in result.log()


def test_one_that_nobody_launches_is_waited_for_no_longer_than_a_minute(
    defs: Any, instance: Any, monkeypatch: Any
) -> None:
    """It may be in the queue behind this one."""
    assert turn.QUEUED_LIMIT_S == 60
    older(instance, defs)
    monkeypatch.setattr(turn, "QUEUED_LIMIT_S", 0.5)
    result = run_job(defs, instance, **after("r1"))
    assert result.success
    assert "behind this one in the run queue" in result.log()


@pytest.mark.parametrize("status", ["STARTING", "STARTED"])
def test_one_that_was_launched_is_waited_for_however_long_it_takes(
    defs: Any, script: Any, instance: Any, monkeypatch: Any, status: str
) -> None:
    first = older(instance, defs, status)
    monkeypatch.setattr(turn, "QUEUED_LIMIT_S", 0.0)
    monkeypatch.setattr(turn, "ABSENT_LIMIT_S", 0.0)
    monkeypatch.setattr(turn, "POLL_S", 0.01)
    polls: list[str] = []
    records = turn._records

    def noted(instance: Any, run: Any, key: str) -> Any:
        polls.append(key)
        return records(instance, run, key)

    monkeypatch.setattr(turn, "_records", noted)
    with ending(instance, first, "CANCELED", lambda: len(polls) > 20 and not script.calls("mirror")):
        assert run_job(defs, instance, **after("r1")).success


def test_cancelled_while_it_waits(defs: Any, script: Any, instance: Any) -> None:
    first = older(instance, defs, "STARTED")

    def of_r2() -> dg.DagsterRun:
        return next(iter(instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": "r2"}))))

    def cancelled() -> bool:
        if is_waiting(instance) and of_r2().status == dg.DagsterRunStatus.STARTED:
            instance.report_run_canceling(of_r2())
            os.kill(os.getpid(), signal.SIGINT)
        return is_waiting(instance) and of_r2().is_finished

    with ending(instance, first, "SUCCESS", cancelled):
        result = run_job(defs, instance, **after("r1"))
    assert result.status == "CANCELED"
    assert script.calls("mirror") == []


def test_it_sends_heartbeats_while_it_waits(defs: Any, instance: Any, monkeypatch: Any) -> None:
    first = older(instance, defs, "STARTED")
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL_S", 0.0)
    beats: list[str] = []
    add_run_tags = type(instance).add_run_tags

    def noted(self: Any, run_id: str, tags: Any) -> Any:
        beats.extend([run_id] if heartbeat.ALIVE_TAG in tags else [])
        return add_run_tags(self, run_id, tags)

    monkeypatch.setattr(type(instance), "add_run_tags", noted)
    with ending(instance, first, "SUCCESS", lambda: len(beats) > 3):
        assert run_job(defs, instance, **after("r1")).success


def test_that_of_another_code_location_is_not_waited_for(defs: Any, instance: Any) -> None:
    label = ".dagster/repository"
    other = older(instance, defs, "STARTED", **{label: "__repository__@another"})
    older(instance, defs, "SUCCESS", **{label: "__repository__@ours"})
    with ending(instance, other, "SUCCESS", lambda: is_finished(instance)):
        result = run_job(defs, instance, **after("r1", **{label: "__repository__@ours"}))
    assert result.success
    assert WAITING not in result.log()


def test_a_re_execution_waits_for_nothing(defs: Any, instance: Any) -> None:
    """By a person, on Dagster's page, where it keeps the tags of its parent."""
    first = older(instance, defs, "STARTED")
    died = instance.create_run_for_job(defs.get_job_def(MIRROR), tags=after("r1"))
    becomes(instance, died.run_id, "FAILURE")
    job = defs.get_job_def(MIRROR)
    again = instance.create_run_for_job(job, tags=after("r1"), parent_run_id=died.run_id, root_run_id=died.run_id)
    with ending(instance, first, "SUCCESS", lambda: instance.get_run_by_id(again.run_id).is_finished):
        execute_run(InMemoryJob(job), again, instance)
    result = Result(instance, again.run_id)
    assert result.success
    assert WAITING not in result.log()


def test_what_ended_long_before_is_not_of_its_chain(defs: Any, instance: Any, monkeypatch: Any) -> None:
    """Somebody launched the mirror by hand, with the tags of an old one."""
    older(instance, defs, "FAILURE")
    monkeypatch.setattr(turn, "_LONG_BEFORE_S", -1.0)
    assert run_job(defs, instance, **after("r1")).success
