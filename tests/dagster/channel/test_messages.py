"""From Pipes messages to events."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
import scripted_messages as s

from tobikodata.scheduler_facades.dagster._events.messages import (
    Assembler,
    PipesMessage,
    RemoteRun,
    RunFinished,
    TaskResult,
    TaskStarted,
    Unreadable,
    asset_key,
    metadata_values,
)

pytestmark = pytest.mark.fast


def feed(*steps: Any) -> list[Any]:
    assembler = Assembler()
    return [event for step in steps for event in assembler.feed(step["send"])]


def test_a_result_holds_what_was_sent_before_its_closing_message() -> None:
    first, second = feed(*s.success("a", "e1", 5.0, checks=("x", "y")), *s.success("b", "e2", 6.0))
    assert isinstance(first, TaskResult)
    assert [m.key.path for m in first.materializations] == [["wh", "s", "a"]]
    assert [c.key.name for c in first.checks] == ["x", "y"]
    assert (first.materializations[0].evaluation_id, first.materializations[0].timestamp) == ("e1", 5.0)
    assert [m.key.path for m in second.materializations] == [["wh", "s", "b"]]
    assert second.checks == ()


def test_custom_messages_are_read() -> None:
    events = feed(s.OPENED, s.run("r9"), s.started("a"), s.done("gave_up", "no network", "r9"), s.CLOSED)
    assert [type(event) for event in events] == [PipesMessage, RemoteRun, TaskStarted, RunFinished, PipesMessage]
    assert not events[3].is_complete


def test_a_message_that_did_not_arrive_is_missed() -> None:
    """The last message says how many there were between `opened` and itself."""
    steps = [s.OPENED, s.run(), s.send("log", message="m", level="INFO"), *s.success("a", checks=("x",))]
    last = s.done()
    last["send"]["params"]["payload"]["messages"] = len(steps) - 1
    assert feed(*steps, last)[-1].is_complete
    for lost in range(1, len(steps)):
        done = feed(*steps[:lost], *steps[lost + 1 :], last)[-1]
        assert not done.is_complete
        assert done.reason == f"{len(steps) - 1} messages were sent and {len(steps) - 2} arrived"


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"method": "report_weather", "params": {}},
        {"method": "report_custom_message", "params": {"payload": {"tobiko": "song"}}},
        {"method": "report_custom_message", "params": {"payload": None}},
        {"method": "report_asset_materialization", "params": {"asset_key": None}},
        {"method": "report_asset_check", "params": {"asset_key": "a", "check_name": "c"}},
        {
            "method": "report_asset_check",
            "params": {"asset_key": "a", "check_name": "c", "passed": 1, "severity": "?"},
        },
    ],
)
def test_an_unreadable_message_is_reported_as_such(message: Any) -> None:
    (event,) = Assembler().feed(message)
    assert isinstance(event, Unreadable)


def test_an_incomplete_result_is_reported_with_a_warning() -> None:
    warning, result = feed(s.task("a", "success", materialized=1, checks=2))
    assert isinstance(warning, Unreadable)
    assert "1 materializations and 2 checks were announced, 0 and 0 arrived" in warning.why
    assert isinstance(result, TaskResult)


@pytest.mark.parametrize(
    ("wire", "parts"),
    [
        ("a", ["a"]),
        ("wh/s/a", ["wh", "s", "a"]),
        ('["a/b","c"]', ["a/b", "c"]),
        ('["a\\\\b"]', ["a\\b"]),
        ('["[odd"]', ["[odd"]),
    ],
)
def test_asset_keys_with_slashes_travel_as_json(wire: str, parts: list[str]) -> None:
    assert asset_key(wire) == dg.AssetKey(parts)


def test_timestamps_travel_as_floats() -> None:
    values = metadata_values(
        {
            "Execution Timestamp": {"raw_value": 1700000000, "type": "float"},
            "Seconds": {"raw_value": 1.5, "type": "float"},
            "Link": {"raw_value": "http://x", "type": "url"},
            "New": {"raw_value": [1], "type": "hologram"},
        }
    )
    assert isinstance(values["Execution Timestamp"], dg.TimestampMetadataValue)
    assert isinstance(values["Seconds"], dg.FloatMetadataValue)
    assert isinstance(values["Link"], dg.UrlMetadataValue)
    assert isinstance(values["New"], dg.TextMetadataValue)
