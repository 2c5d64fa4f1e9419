"""With the recorder, SQLMesh does what it does without it, whatever fails inside the recorder."""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import os
import pkgutil
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from project import Project
from receiver import Receiver
from sqlmesh.core.scheduler import Scheduler

from tobikodata import sqlmesh_recorder
from tobikodata.sqlmesh_recorder import _delivery, _hooks
from tobikodata.sqlmesh_recorder._process import open_recording, process
from tobikodata.sqlmesh_recorder._wrapping import Hook

MODULES = [
    importlib.import_module(f"tobikodata.sqlmesh_recorder.{module.name}")
    for module in pkgutil.iter_modules(sqlmesh_recorder.__path__)
    if module.name != "__main__"
]
INTERNALS = [
    "open_recording",
    "enter_operation",
    "leave_operation",
    "project_fields",
    "_state_hash",
    "environment_fields",
    "version_of",
    "milliseconds",
    "message_of",
    "current_evaluation",
    "leave",
    "one_request",
    "Recording.report_start",
    "Recording.schedule",
    "Recording.start",
    "Recording.finish",
    "Recording.fail_unevaluated",
    "Recording.end",
    "Recording.put_audit",
    "Evaluation.add_audit",
    "Evaluation.log_text",
    "Delivery.put",
    "Delivery._deliver",
    "Server.post",
    "Spool.is_empty",
    "Settings.of",
]


def normalized(text: str) -> list[str]:
    """The lines of an output without what differs between runs: times, paths and the order of lines."""
    text = re.sub(r"\d+\.\d+s|\d+:\d\d:\d\d|sqlmesh_[\d_]+\.log|project-\w+", "*", text)
    return sorted(line.strip() for line in text.splitlines() if line.strip())


def test_the_command_line_is_sqlmeshs_own_even_without_a_server(template: Project, tmp_path: Path, spool: Path) -> None:
    unreachable = "http://127.0.0.1:9"
    commands = []
    for name, is_recorded in {"project-plain": False, "project-recorded": True}.items():
        project = Project(tmp_path / name, copy_of=template)
        project.write("click.py", "raise ImportError('a file of the project, not what SQLMesh imports')")
        settings = {"TCLOUD_BASE_URL": unreachable, "TEST_CHECKED": "raise"}
        commands.append(project.command("run", recorded=is_recorded, **settings))
    plain, recorded = (command.communicate(timeout=60) for command in commands)
    assert [command.returncode for command in commands] == [1, 1]
    for one, other in zip(plain, recorded):
        assert normalized(one) == normalized(other)
    assert "checked fails on request" in plain[0]
    events = [json.loads(line) for line in spool.read_bytes().splitlines()]
    assert [(event["type"], event["status"]) for event in events[-1:]] == [("run_ended", "failed")]


def test_a_failed_plan_raises_the_same_with_and_without(
    template: Project, tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TCLOUD_BASE_URL", receiver.url)
    monkeypatch.setenv("TEST_CHECKED", "raise")
    raised: list[BaseException] = []
    for name in ("plain", "recorded"):
        project = Project(tmp_path / name, copy_of=template)
        with pytest.raises(Exception) as caught:  # noqa: PT011 (its type is compared below)
            project.plan(day=6)
        raised.append(caught.value)
        sqlmesh_recorder.install()
    assert type(raised[0]) is type(raised[1])
    assert str(raised[0]) == str(raised[1])


@pytest.mark.usefixtures("recorded")
def test_a_failure_inside_the_recorder_changes_nothing(planned: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def broken(*_: Any, **__: Any) -> Any:
        called.append(1)
        raise RuntimeError("broken by the test")

    monkeypatch.setenv("TEST_CHECKED", "raise")
    monkeypatch.setattr(_delivery, "FLUSH_SECONDS", 0.1)
    expected = planned.run(day=5)
    failed, batches = planned.witness.failed, sorted(planned.witness.batches)
    assert expected.is_failure
    for day, internal in enumerate(INTERNALS, start=6):
        owner, _, name = internal.rpartition(".")
        called.clear()
        with monkeypatch.context() as patch:
            for module in MODULES:  # wherever it is imported under that name
                if hasattr(module, owner or name):
                    patch.setattr(getattr(module, owner) if owner else module, name, broken)
            assert planned.run(day=day) == expected, internal
            if day <= 11:  # the model with an end has no work after that
                assert sorted(planned.witness.batches) == batches, internal
            assert planned.witness.failed == failed, internal
            sqlmesh_recorder.uninstall()
        assert called, internal
        sqlmesh_recorder.install()


def test_a_method_that_sqlmesh_lacks_is_skipped_with_a_warning(
    planned: Project,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hooks = [hook for hook in _hooks.HOOKS if hook.method != "batch_intervals"]
    missing = Hook("sqlmesh.core.scheduler", "Scheduler", "no_such", print, print)
    nowhere = Hook("sqlmesh.no_such_module", "Scheduler", "evaluate", print, print)
    monkeypatch.setattr(_hooks, "HOOKS", [missing, nowhere, *hooks])
    monkeypatch.setenv("TCLOUD_BASE_URL", receiver.url)
    with caplog.at_level(logging.WARNING):
        sqlmesh_recorder.install()
    assert "no Scheduler.no_such" in caplog.text
    assert planned.run(day=5).is_success
    receiver.wait_for(lambda: receiver.of("run_ended"))
    assert receiver.of("evaluation_scheduled") == []
    assert len(receiver.of("evaluation_started")) == len(planned.witness.batches)


def test_installed_twice_it_records_once(planned: Project, recorded: Receiver) -> None:
    sqlmesh_recorder.install()
    assert not hasattr(Scheduler.evaluate.__wrapped__, "__wrapped__")
    planned.run(day=5)
    recorded.wait_for(lambda: recorded.of("run_ended"))
    assert len(recorded.of("evaluation_started")) == len(planned.witness.batches)
    sqlmesh_recorder.uninstall()
    assert not hasattr(Scheduler.evaluate, "__wrapped__")


def test_turned_off_it_wraps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOBIKO_RECORDER", "off")
    sqlmesh_recorder.install()
    assert not hasattr(Scheduler.evaluate, "__wrapped__")


def test_without_a_base_url_nothing_is_recorded_and_one_warning_says_so(
    planned: Project, caplog: pytest.LogCaptureFixture, spool: Path
) -> None:
    sqlmesh_recorder.install()
    with caplog.at_level(logging.WARNING, logger="tobikodata.sqlmesh_recorder"):
        planned.run(day=5)
        planned.run(day=6)
    assert [record.getMessage() for record in caplog.records if "TCLOUD_BASE_URL" in record.getMessage()] == [
        "nothing is recorded: TCLOUD_BASE_URL is not set"
    ]
    assert not spool.parent.exists()


def test_an_idle_run_starts_no_thread_and_sends_nothing(planned: Project, recorded: Receiver) -> None:
    assert planned.run(day=4).is_nothing_to_do
    assert "sqlmesh-recorder" not in {thread.name for thread in threading.enumerate()}
    assert recorded.requests == []


def test_without_arguments_it_prints_its_usage(planned: Project) -> None:
    process = planned.command()
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert output.startswith("usage: python -m tobikodata.sqlmesh_recorder [--project-name NAME] COMMAND")
    assert errors == ""


def test_a_forked_process_does_not_send_its_parents_events(planned: Project, recorded: Receiver) -> None:
    planned.run(day=5)
    parents = process.delivery
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def child() -> None:
        results.put(process.delivery is None)
        recording = open_recording("plan", "of-the-child")
        recording.environment = "prod"
        recording.report_start()
        sqlmesh_recorder.uninstall()
        os._exit(0)

    forked = context.Process(target=child)
    forked.start()
    forked.join(20)
    assert forked.exitcode == 0
    assert results.get() is True
    assert process.delivery is parents
    recorded.wait_for(lambda: [e for e in recorded.of("plan_started") if e["plan_id"] == "of-the-child"])
    recorded.wait_for(lambda: recorded.of("run_ended"))
    assert recorded.received == len(recorded.events)
