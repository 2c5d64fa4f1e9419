"""Environments that SQLMesh invalidates or deletes are recorded as deleted."""

from __future__ import annotations

import pytest
from project import Project
from receiver import Receiver


def deleted(receiver: Receiver, count: int = 1) -> list[str]:
    events = receiver.wait_for(lambda: len(receiver.of("environment_deleted")) >= count and receiver.events)
    return [event["environment"] for event in events if event["type"] == "environment_deleted"]


def test_an_invalidated_environment_is_deleted(planned: Project, recorded: Receiver) -> None:
    planned.plan(environment="Feature/One", include_unmodified=True)
    with planned.context() as context:
        context.invalidate_environment("Feature/One")
    assert deleted(recorded) == ["feature_one"]
    assert recorded.events[-1]["project"] == ""


def test_what_the_janitor_deletes_is_deleted(planned: Project, recorded: Receiver) -> None:
    for name in ("one", "two"):
        planned.plan(environment=name, include_unmodified=True)
    with planned.context() as context:
        context.state_sync.invalidate_environment("one")  # not by the context's own method, which is recorded itself
        context.run_janitor(ignore_ttl=False)
        assert context.state_reader.get_environment("one") is None
    assert deleted(recorded) == ["one"]
    assert recorded.events[-1]["state"] == recorded.events[0]["state"]


def test_the_janitor_of_a_run_records_what_it_deletes(planned: Project, recorded: Receiver) -> None:
    planned.plan(environment="one", include_unmodified=True)
    with planned.context() as context:
        context.state_sync.invalidate_environment("one")
        assert context.run(end="2024-01-04", execution_time="2024-01-04").is_nothing_to_do
    assert deleted(recorded) == ["one"]
    assert recorded.of("run_started") == []


def test_production_is_not_deleted_when_its_invalidation_is_refused(planned: Project, recorded: Receiver) -> None:
    with planned.context() as context, pytest.raises(Exception, match="(?i)prod"):
        context.invalidate_environment("prod")
    planned.run(day=5)
    recorded.wait_for(lambda: recorded.of("run_ended"))
    assert recorded.of("environment_deleted") == []
