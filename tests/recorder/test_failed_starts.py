"""Runs and plans that fail before they evaluate anything are recorded as failed; those without work are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from project import Project
from receiver import Event, Receiver

from tobikodata import sqlmesh_recorder


def newer_state(project: Project) -> None:
    """As if a newer SQLMesh had migrated the state."""
    with duckdb.connect(str(project.root / "shop.db")) as connection:
        connection.execute("UPDATE sqlmesh._versions SET schema_version = schema_version + 1")


def broken_config(project: Project) -> None:
    project.write("config.yaml", (project.root / "config.yaml").read_text() + "no_such_setting: [\n")


def broken_model(project: Project) -> None:
    project.write("models/broken.sql", "MODEL (name t.broken, kind NO_SUCH_KIND);\nSELECT 1 AS id")


def only_end(receiver: Receiver, kind: str) -> Event:
    """The end of the only run or plan, which has started and evaluated nothing."""
    [end] = receiver.wait_for(lambda: receiver.of(f"{kind}_ended"))
    [start] = receiver.of(f"{kind}_started")
    assert start[f"{kind}_id"] == end[f"{kind}_id"]
    assert {event["type"] for event in receiver.events} == {f"{kind}_started", f"{kind}_ended"}
    assert start["environment"] == end["environment"]
    return end


def test_a_run_on_the_state_of_a_newer_sqlmesh_is_a_failed_run(planned: Project, recorded: Receiver) -> None:
    newer_state(planned)
    with pytest.raises(Exception, match="version"):
        planned.run(day=5)
    end = only_end(recorded, "run")
    assert (end["environment"], end["status"]) == ("prod", "failed")
    assert "version" in end["error_message"]


def test_a_run_of_an_environment_that_does_not_exist_is_a_failed_run_of_that_one(
    planned: Project, recorded: Receiver
) -> None:
    with pytest.raises(Exception, match="not found"):
        planned.run(day=5, environment="nowhere")
    assert only_end(recorded, "run")["environment"] == "nowhere"


def test_an_interrupted_run_that_evaluated_nothing_is_no_run(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlmesh.core.context import GenericContext

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(GenericContext, "_run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        planned.run(day=5)
    sqlmesh_recorder.uninstall()
    assert recorded.events == []


def test_a_plan_on_the_state_of_a_newer_sqlmesh_is_a_failed_plan(planned: Project, recorded: Receiver) -> None:
    newer_state(planned)
    with pytest.raises(Exception, match="version"):
        planned.plan(day=5, environment="Feature/One")
    end = only_end(recorded, "plan")
    assert (end["environment"], end["status"]) == ("feature_one", "failed")
    assert "version" in end["error_message"]


def test_a_plan_that_fails_when_it_is_applied_is_one_failed_plan(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlmesh.core.context import GenericContext

    applied = []

    def fail(_: Any, plan: Any, *__: Any) -> None:
        applied.append(plan.plan_id)
        raise RuntimeError("no plan evaluator")

    monkeypatch.setattr(GenericContext, "_apply", fail)
    with pytest.raises(RuntimeError, match="no plan evaluator"):
        planned.plan(day=5, environment="dev", include_unmodified=True)
    end = only_end(recorded, "plan")
    assert (end["plan_id"], end["environment"]) == (applied[0], "dev")
    assert end["error_message"] == "RuntimeError: no plan evaluator"


def test_a_plan_without_changes_is_no_plan(planned: Project, recorded: Receiver) -> None:
    with pytest.raises(Exception, match="requires a change"):
        planned.plan(environment="dev")
    planned.plan()
    sqlmesh_recorder.uninstall()
    assert recorded.events == []


def test_a_plan_as_sqlmesh_dbt_makes_it_is_recorded(planned: Project, recorded: Receiver) -> None:
    """`sqlmesh_dbt run` calls neither `Context.plan` nor `Context.run`."""
    with planned.context() as context:
        options = {"run": True, "execution_time": "2024-01-05", "no_gaps": True, "skip_tests": True}
        builder = context.plan_builder("prod", **options)
        plan = builder.build()
        context.console.plan(builder, auto_apply=True, default_catalog=context.default_catalog, no_prompts=True)
    [end] = recorded.wait_for(lambda: recorded.of("plan_ended"))
    assert (end["plan_id"], end["status"]) == (plan.plan_id, "success")
    assert {event["plan_id"] for event in recorded.of("evaluation_started")} == {plan.plan_id}
    newer_state(planned)
    with planned.context() as context, pytest.raises(Exception, match="version"):
        context.plan_builder("prod")
    failed = recorded.wait_for(lambda: recorded.of("plan_ended")[1:])[0]
    assert (failed["environment"], failed["status"]) == ("prod", "failed")


def test_a_plan_that_runs_what_is_due_is_recorded_batch_by_batch(planned: Project, recorded: Receiver) -> None:
    plan = planned.plan(day=5, run=True)
    recorded.wait_for(lambda: recorded.of("plan_ended"))
    started = recorded.of("evaluation_started")
    assert {event["plan_id"] for event in started} == {plan.plan_id}
    assert sorted(event["node_name"] for event in started) == sorted(node for node, *_ in planned.witness.batches)


@pytest.mark.parametrize(
    ("fault", "arguments", "kind", "environment"),
    [
        (newer_state, ["run"], "run", "prod"),
        (broken_config, ["run", "--skip-janitor", "Feature/One"], "run", "feature_one"),
        (broken_config, ["plan", "--auto-apply", "--no-prompts"], "plan", "prod"),
        (broken_model, ["plan", "dev", "--auto-apply", "--no-prompts"], "plan", "dev"),
    ],
)
def test_a_command_that_fails_before_it_starts_is_recorded_as_failed(
    planned: Project,
    receiver: Receiver,
    fault: Callable[[Project], None],
    arguments: list[str],
    kind: str,
    environment: str,
) -> None:
    fault(planned)
    command = planned.command(*arguments, TCLOUD_BASE_URL=receiver.url)
    output, errors = command.communicate(timeout=60)
    assert command.returncode == 1, output + errors
    end = only_end(receiver, kind)
    assert (end["environment"], end["status"]) == (environment, "failed")
    assert end["error_message"].strip()


@pytest.mark.parametrize(
    "arguments", [["run", "--no-such-option"], ["run", "--help"], ["no-such-command"], ["run", "one", "two"]]
)
def test_a_wrong_command_line_is_no_run(
    planned: Project, receiver: Receiver, spool: Path, arguments: list[str]
) -> None:
    command = planned.command(*arguments, TCLOUD_BASE_URL=receiver.url)
    command.communicate(timeout=60)
    assert command.returncode == (0 if "--help" in arguments else 2)
    assert receiver.events == []
    assert not spool.exists()
