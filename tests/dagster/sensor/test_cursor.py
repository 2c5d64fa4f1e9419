"""The sensor's cursor: a small record, and what the original package left behind."""

from __future__ import annotations

import json

import pytest

from tobikodata.scheduler_facades.dagster._sensor.cursor import Cursor, parse, write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, Cursor()),
        ("", Cursor()),
        # of the original
        ("5e0f", Cursor(synced=True, last="5e0f")),
        ("__initial_sync_complete__", Cursor(synced=True, newest_only=True)),
        ("12", Cursor(synced=True, last="12")),
        ('{"no": "record of ours"}', Cursor(synced=True, last='{"no": "record of ours"}')),
        # ours, of another version or damaged
        ('{"version":2,"last":"r","synced":true,"more":1}', Cursor(synced=True, last="r")),
        ('{"version":1,"last":5,"attempt":"x","reload_with":7,"sync_attempt":null}', Cursor()),
    ],
)
def test_is_understood(text: str | None, expected: Cursor) -> None:
    assert parse(text) == expected


def test_survives_being_written() -> None:
    cursor = Cursor().asked_for_sync(2).asked_for("r1").asked_again().reloaded("f1", "r1", worked=True)
    assert parse(write(cursor)) == cursor
    assert json.loads(write(cursor))["version"] == 1


def test_a_reload_is_tried_once_for_each_fingerprint_and_once_more_with_the_next_run() -> None:
    cursor = Cursor()
    assert cursor.may_reload("f1", "r1")
    cursor = cursor.reloaded("f1", "r1", worked=True)
    assert not cursor.may_reload("f1", "r1")
    assert cursor.may_reload("f1", "r2")
    cursor = cursor.reloaded("f1", "r2", worked=True)
    assert not cursor.may_reload("f1", "r3")
    assert cursor.may_reload("f2", "r3")
    assert cursor.reloaded("f2", "r3", worked=False).may_reload("f2", "r4")


def test_counts_how_often_a_mirror_was_asked_for() -> None:
    cursor = Cursor().asked_for("r1")
    assert (cursor.last, cursor.attempt, cursor.synced) == ("r1", 1, True)
    assert cursor.asked_again().attempt == 2
    assert cursor.asked_again().asked_for("r2").attempt == 1
    assert cursor.passed("r9").attempt == 0


def test_waits_for_a_reload_that_worked() -> None:
    cursor = Cursor().reloaded("f1", "r1", worked=True)
    assert cursor.reload_wait == 3
    assert cursor.waited().reload_wait == 2
    assert cursor.reloaded("f1", "r2", worked=False).reload_wait == 0
