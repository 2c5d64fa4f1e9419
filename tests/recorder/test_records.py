"""What is recorded of plans and runs, compared with what SQLMesh reports and with its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from project import ALL_BUT_EXTERNAL, IS_NEWER, Project, Witness
from pydantic import TypeAdapter, ValidationError
from receiver import Event, Receiver
from settings import set_only_settings
from sqlmesh.core.state_sync import EngineAdapterStateSync
from sqlmesh.utils.errors import PlanError, SQLMeshError

from tobikodata import sqlmesh_recorder
from tobikodata.sqlmesh_recorder import _delivery

# Of two uses of one audit in a model, the oldest SQLMesh knows and runs only the last.
NOT_NULL_USES = [("not_null", "columns := (id)", True), ("not_null", "columns := (day)", True)][0 if IS_NEWER else 1 :]


def ended(receiver: Receiver, kind: str, count: int = 1) -> Event:
    """Waits for the end of the newest run or plan."""
    return receiver.wait_for(lambda: len(receiver.of(f"{kind}_ended")) >= count and receiver.of(f"{kind}_ended"))[-1]


def evaluations(receiver: Receiver, key: dict[str, str]) -> list[dict[str, Any]]:
    """Each evaluation of a run or plan as one record, in the order of their start."""
    found: dict[str, dict[str, Any]] = {}
    for event in receiver.events:
        identifier = event.get("evaluation_id")
        if event["type"] in ("evaluation_scheduled", "evaluation_started"):
            if key.items() <= event.items():
                record = found.setdefault(identifier, {"audits": [], "status": "scheduled"})
                record.update(event)
                if event["type"] == "evaluation_started":
                    record["status"] = "in_progress"
        elif identifier in found and event["type"] == "audit":
            found[identifier]["audits"].append(event)
        elif identifier in found and event["type"] == "evaluation_ended":
            found[identifier].update(event)
    return list(found.values())


def key_of(event: Event) -> dict[str, str]:
    return {name: event[name] for name in ("run_id", "plan_id") if name in event}


def assert_equals_witness(witness: Witness, records: list[dict[str, Any]]) -> None:
    """Every batch that SQLMesh reports as evaluated is recorded once, with its audits, and no other."""
    recorded = Counter(
        (r["node_name"], *audit_counts(r), r["status"] == "success")
        for r in records
        if r["status"] != "scheduled" and not r["log"].startswith("failed before")
    )
    # SQLMesh reports no audits of a batch that failed: its results are lost when it raises.
    witnessed = Counter(
        (node, passed, failed, well) if well else (node, *audits_of_failed(records, node), well)
        for node, passed, failed, well in witness.batches
    )
    if not IS_NEWER:  # it reports no audits at all
        recorded, witnessed = (
            Counter((node, well) for node, _, _, well in counts.elements()) for counts in (recorded, witnessed)
        )
    assert recorded == witnessed


def audit_counts(record: dict[str, Any]) -> tuple[int, int]:
    statuses = [audit["status"] for audit in record["audits"]]
    return statuses.count("success"), statuses.count("failed")


def audits_of_failed(records: list[dict[str, Any]], node: str) -> tuple[int, int]:
    return next(audit_counts(r) for r in records if r["node_name"] == node and r["status"] == "failed")


@dataclass(frozen=True)
class Story:
    """A first plan, for three days, and a run for the two days after; recorded by a receiver."""

    project: Project
    receiver: Receiver
    plan: Any
    witness_of_plan: Witness
    witness_of_run: Witness

    def planned(self) -> list[dict[str, Any]]:
        return evaluations(self.receiver, {"plan_id": self.plan.plan_id})


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    project, receiver = Project(tmp_path_factory.mktemp("story") / "project"), Receiver()
    with pytest.MonkeyPatch.context() as patch:
        set_only_settings(patch, project.root / "spool.jsonl")
        patch.setenv("TCLOUD_BASE_URL", receiver.url)
        sqlmesh_recorder.install()
        plan = project.plan(day=4)
        witness = project.witness
        assert project.run(day=6).is_success
        ended(receiver, "run")
        sqlmesh_recorder.uninstall()
    receiver.close()
    return Story(project, receiver, plan, witness, project.witness)


def test_a_plan_and_a_run_are_recorded_batch_by_batch(story: Story) -> None:
    end = ended(story.receiver, "plan")
    assert (end["plan_id"], end["environment"], end["status"]) == (story.plan.plan_id, "prod", "success")
    assert end["error_message"] is None
    assert_equals_witness(story.witness_of_plan, story.planned())
    facts = [r for r in story.planned() if r["node_name"] == '"shop"."t"."facts"']
    assert [r["interval_start"][:10] for r in facts] == ["2024-01-01", "2024-01-02", "2024-01-03"]

    end = ended(story.receiver, "run")
    assert (end["environment"], end["status"], end["error_message"]) == ("prod", "success", None)
    records = evaluations(story.receiver, key_of(end))
    assert_equals_witness(story.witness_of_run, records)
    assert {r["node_name"] for r in records} == ALL_BUT_EXTERNAL - {'"shop"."t"."ref"'}
    assert all(r["run_id"] == end["run_id"] and "plan_id" not in r for r in records)
    facts += [r for r in records if r["node_name"] == '"shop"."t"."facts"']
    assert len(facts) == story.project.days_filled('"shop"."t"."facts"') == 5
    assert story.project.query("SELECT COUNT(*) FROM t.facts") == [(10,)]


def test_events_are_sent_in_the_order_in_which_things_happened(story: Story) -> None:
    events = story.receiver.events
    for kind in ("plan", "run"):
        mine = [event for event in events if f"{kind}_id" in event and event["type"] != "environment"]
        types = [event["type"] for event in mine]
        assert types[0] == f"{kind}_started"
        assert types[-1] == f"{kind}_ended"
        assert types.count("evaluation_scheduled") == types.count("evaluation_started")
        assert types.index("evaluation_started") > types.index("evaluation_scheduled")
    types = [event["type"] for event in events]
    assert types.index("environment") < types.index("plan_ended")
    assert types.index("environment", types.index("plan_ended")) < types.index("run_started")
    assert len({event["id"] for event in events}) == len(events) == story.receiver.received
    assert all(event["at"].endswith("+00:00") for event in events)


def test_the_dag_is_that_of_the_finalized_environment(story: Story) -> None:
    environment = story.receiver.of("environment")[0]
    with story.project.context() as context:
        state = context.state_reader.get_environment("prod")
        snapshots = context.state_reader.get_snapshots(state.snapshots)
        truth = {s.name: s for s in snapshots.values()}
    assert state.finalized_ts
    assert (environment["environment"], environment["plan_id"]) == ("prod", story.plan.plan_id)
    assert environment["start_at"] == "2024-01-01T00:00:00+00:00"
    assert (environment["schedule_cron"], environment["schedule_seconds"]) == ("@daily", 86400)
    nodes = {node["name"]: node for node in environment["nodes"]}
    assert nodes.keys() == truth.keys()
    assert nodes.keys() == ALL_BUT_EXTERNAL | {'"shop"."ext"."source"'}
    for name, node in nodes.items():
        assert node["version"] == truth[name].version
        assert set(node["parent_names"]) == {parent.name for parent in truth[name].parents}
    facts = nodes['"shop"."t"."facts"']
    assert facts["model_name"] == "t.facts"
    assert facts["description"] == "Two rows a day."
    assert facts["tags"] == ["a", "b"]
    assert facts["audit_names"] == ["not_null", "few_rows"]
    assert facts["cron"] == "@daily"
    assert nodes['"shop"."t"."ref"']["cron"] is None  # a seed is never due
    assert nodes['"shop"."ext"."source"']["cron"] is None
    uses = [(audit["name"], audit["args"], audit["blocking"]) for audit in facts["audits"]]
    assert uses == [*NOT_NULL_USES, ("few_rows", None, False)]
    assert facts["audits"][-1]["query"].split() == ["SELECT", "*", "FROM", "@this_model"]
    assert "@columns" in facts["audits"][0]["query"]
    (whole,) = nodes["whole"]["audits"]
    assert (whole["name"], whole["args"], whole["blocking"]) == ("whole", None, False)
    assert whole["query"].split()[:3] == ["SELECT", "f.id", "FROM"]
    assert nodes['"shop"."t"."total"']["audits"] == []
    assert {name: node["source_type"] for name, node in nodes.items() if node["source_type"] != "sql"} == {
        '"shop"."t"."ref"': "seed",
        '"shop"."ext"."source"': "external",
        '"shop"."t"."checked"': "python",
        "whole": "audit",
    }
    assert [name for name, node in nodes.items() if node["type"] == "audit"] == ["whole"]
    # What a run reads from SQLMesh's state reads like what the plan had made of the files.
    of_run = story.receiver.of("environment")[-1]
    assert {node["name"]: node["audits"] for node in of_run["nodes"]} == {
        name: node["audits"] for name, node in nodes.items()
    }


def test_the_same_audit_with_other_arguments_is_recorded_twice(story: Story) -> None:
    facts = next(r for r in story.planned() if r["node_name"] == '"shop"."t"."facts"')
    warning = facts["audits"][-1]
    recorded = [
        (audit["name"], audit["args"], audit["status"], audit["blocking"], audit["count"]) for audit in facts["audits"]
    ]
    assert recorded == [
        *((name, arguments, "success", True, 0) for name, arguments, _ in NOT_NULL_USES),
        ("few_rows", None, "failed", False, warning["count"]),
    ]
    # The oldest SQLMesh audits the day after an interval, too, if another batch has filled it by then.
    assert warning["count"] in ((2,) if IS_NEWER else (2, 4))
    assert all(0 < audit["duration_seconds"] < 60 for audit in facts["audits"])
    assert "rows_processed" not in facts  # DuckDB does not count them
    assert facts["status"] == "success"
    assert f"few_rows failed ({warning['count']} rows, a warning)" in facts["log"]
    assert "t__facts" in warning["log"]
    assert warning["interval_start"] == "2024-01-01T00:00:00+00:00"
    assert warning["interval_end"] == "2024-01-02T00:00:00+00:00"


def test_a_standalone_audit_is_a_node_with_one_audit_called_like_it(story: Story) -> None:
    record = next(r for r in story.planned() if r["node_name"] == "whole")
    assert record["status"] == "success"
    assert [(audit["name"], audit["status"]) for audit in record["audits"]] == [("whole", "success")]


def test_a_failing_model_fails_the_run_and_its_children_have_no_record(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_CHECKED", "raise")
    status = planned.run(day=5)
    assert status.is_failure
    end = ended(recorded, "run")
    assert end["status"] == "failed"
    assert end["error_message"] == "1 of 6 nodes failed: t.checked; 1 skipped"
    records = evaluations(recorded, key_of(end))
    assert_equals_witness(planned.witness, records)
    assert planned.witness.failed == {'"shop"."t"."checked"'}
    assert planned.witness.skipped == {'"shop"."t"."after_checked"'}
    failed = [r for r in records if r["status"] == "failed"]
    assert [r["node_name"] for r in failed] == ['"shop"."t"."checked"']
    assert failed[0]["error_message"].splitlines()[0] == "ValueError: checked fails on request"
    assert "checked fails on request" in failed[0]["log"]
    assert "Traceback" in failed[0]["log"]
    assert [r["node_name"] for r in records if r["status"] == "scheduled"] == ['"shop"."t"."after_checked"']
    assert planned.days_filled('"shop"."t"."checked"') == 3


def test_a_failed_plan_has_its_message(project: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHECKED", "raise")
    with pytest.raises(PlanError) as raised:
        project.plan()
    end = ended(recorded, "plan")
    assert end["status"] == "failed"
    assert end["error_message"].startswith(str(raised.value))
    assert "1 of 7 nodes failed: t.checked" in end["error_message"]
    assert recorded.of("environment") == []
    assert_equals_witness(project.witness, evaluations(recorded, key_of(end)))


def test_a_plan_that_raises_any_exception_is_recorded_as_ended(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finalize(*_: Any) -> None:
        TypeAdapter(int).validate_python("one")  # raises one whose `errors` is a method

    monkeypatch.setattr(EngineAdapterStateSync, "finalize", finalize)
    with pytest.raises(ValidationError):
        planned.plan(environment="dev", include_unmodified=True)
    end = ended(recorded, "plan")
    assert end["status"] == "failed"
    assert end["error_message"].startswith("ValidationError: 1 validation error for int")


def test_a_blocking_audit_fails_its_evaluation_and_is_recorded(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_CHECKED", "negative")
    assert planned.run(day=5).is_failure
    end = ended(recorded, "run")
    failed = [r for r in evaluations(recorded, key_of(end)) if r["status"] == "failed"]
    assert [r["node_name"] for r in failed] == ['"shop"."t"."checked"']
    assert [(a["name"], a["status"], a["blocking"], a["count"]) for a in failed[0]["audits"]] == [
        ("positive", "failed", True, 1)
    ]
    assert "positive" in failed[0]["error_message"]
    assert "1 row" in failed[0]["error_message"]
    assert planned.days_filled('"shop"."t"."checked"') == 3


def test_audits_that_ran_before_one_with_a_broken_query_are_recorded(planned: Project, recorded: Receiver) -> None:
    text = (planned.root / "models/after_checked.sql").read_text()
    planned.write("audits/broken.sql", "AUDIT (name broken);\nSELECT no_such_column FROM @this_model")
    planned.write(
        "models/after_checked.sql",
        text.replace("cron '@daily'", "cron '@daily', audits (not_null(columns := (id)), broken)"),
    )
    with pytest.raises(PlanError):
        planned.plan(day=5)
    end = ended(recorded, "plan")
    failed = next(r for r in evaluations(recorded, key_of(end)) if r["status"] == "failed")
    assert [(audit["name"], audit["status"]) for audit in failed["audits"]] == [("not_null", "success")]
    assert "no_such_column" in failed["error_message"]


def test_a_plan_that_only_adds_an_audit_records_its_result(planned: Project, recorded: Receiver) -> None:
    text = (planned.root / "models/after_checked.sql").read_text()
    planned.write("models/after_checked.sql", text.replace("'@daily'", "'@daily', audits (positive)"))
    plan = planned.plan()
    ended(recorded, "plan")
    records = evaluations(recorded, {"plan_id": plan.plan_id})
    assert_equals_witness(planned.witness, records)
    if not records:
        pytest.skip("this SQLMesh does not run the audits that a plan adds")
    assert [r["node_name"] for r in records] == ['"shop"."t"."after_checked"']
    assert [(audit["name"], audit["status"]) for audit in records[0]["audits"]] == [("positive", "success")]
    assert "only audits" in records[0]["log"]


def test_nothing_due_is_no_run(planned: Project, recorded: Receiver) -> None:
    before = len(recorded.events)
    assert planned.run(day=4).is_nothing_to_do
    assert planned.run(day=5).is_success
    ended(recorded, "run")
    assert len(recorded.of("run_started")) == 1
    assert recorded.events[before]["type"] == "environment"
    assert recorded.events[before + 1]["type"] == "run_started"


def plan_of_tomorrow(project: Project) -> Any:
    return project.plan(day=5)


def plan_without_backfill(project: Project) -> Any:
    return project.plan(day=5, skip_backfill=True, no_gaps=False)


@pytest.mark.parametrize("plan", [plan_of_tomorrow, plan_without_backfill])
def test_a_table_that_cannot_be_created_is_a_failed_evaluation(
    planned: Project, recorded: Receiver, plan: Callable[[Project], Any]
) -> None:
    planned.write(
        "models/hopeless.sql",
        """
        MODEL (name t.hopeless, kind INCREMENTAL_BY_TIME_RANGE (time_column day), cron '@daily');
        SELECT day, id FROM ext.missing WHERE day BETWEEN @start_ds AND @end_ds
        """,
    )
    with pytest.raises(SQLMeshError):
        plan(planned)
    end = ended(recorded, "plan")
    assert end["status"] == "failed"
    assert not [node for node, *_ in planned.witness.batches if "hopeless" in node]
    assert planned.witness.failed == {'"shop"."t"."hopeless"'}
    failed = [r for r in evaluations(recorded, key_of(end)) if r["status"] == "failed"]
    assert [r["node_name"] for r in failed] == ['"shop"."t"."hopeless"']
    assert "missing" in failed[0]["error_message"]
    assert failed[0]["version"]
    assert "1 of" in end["error_message"]


def test_an_environment_that_was_not_finalized_is_not_recorded(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EngineAdapterStateSync, "finalize", lambda *_: None)
    planned.plan(environment="dev", include_unmodified=True)
    ended(recorded, "plan")
    with planned.context() as context:
        assert context.state_reader.get_environment("dev").finalized_ts is None
    assert recorded.of("environment") == []


def test_a_promotion_of_what_dev_evaluated_evaluates_nothing(planned: Project, recorded: Receiver) -> None:
    text = (planned.root / "models/total_view.sql").read_text()
    planned.write("models/total_view.sql", text.replace("rows_of_facts FROM", "rows_of_facts, 1 AS one FROM"))
    dev = planned.plan(environment="dev", include_unmodified=False)
    prod = planned.plan()
    ended(recorded, "plan", 2)
    [record] = evaluations(recorded, {"plan_id": dev.plan_id})
    assert record["node_name"] == '"shop"."t"."total_view"'
    assert evaluations(recorded, {"plan_id": prod.plan_id}) == []
    dags = {e["plan_id"]: {n["name"]: n["version"] for n in e["nodes"]} for e in recorded.of("environment")}
    assert dags[dev.plan_id][record["node_name"]] == record["version"]
    assert dags[prod.plan_id][record["node_name"]] == record["version"]


def test_a_preview_in_dev_has_another_version_than_the_table_of_prod(planned: Project, recorded: Receiver) -> None:
    text = (planned.root / "models/checked.py").read_text()
    planned.write("models/checked.py", text.replace("else 1]", "else 2]"))
    dev = planned.plan(environment="dev", forward_only=True, enable_preview=True)
    planned.run(day=5)
    ended(recorded, "run")
    dags = {e["environment"]: {n["name"]: n["version"] for n in e["nodes"]} for e in recorded.of("environment")}
    records = [r for r in evaluations(recorded, {"plan_id": dev.plan_id}) if "checked" in r["node_name"]]
    assert records
    for record in records:
        assert record["version"] == dags["dev"][record["node_name"]]
        assert record["version"] != dags["prod"][record["node_name"]]


def test_an_interrupted_run_is_aborted(planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlmesh.core.snapshot import SnapshotEvaluator

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SnapshotEvaluator, "evaluate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        planned.run(day=5)
    end = ended(recorded, "run")
    assert (end["status"], end["error_message"]) == ("aborted", "interrupted")
    assert "aborted" in {r["status"] for r in evaluations(recorded, key_of(end))}


def test_a_run_that_a_plan_disturbs_is_one_run(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlmesh.core.scheduler import Scheduler
    from sqlmesh.utils.errors import CircuitBreakerError

    inner = Scheduler._dag
    calls = []

    def disturbed(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise CircuitBreakerError
        return inner(*args, **kwargs)

    monkeypatch.setattr(Scheduler, "_dag", disturbed)
    assert planned.run(day=5).is_success
    end = ended(recorded, "run")
    assert len(calls) == 2
    assert len(recorded.of("run_started")) == 1
    records = evaluations(recorded, key_of(end))
    assert_equals_witness(planned.witness, records)
    assert {r["status"] for r in records} == {"success"}


def test_heartbeats_are_sent_while_a_run_is_in_progress(
    planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delivery, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setenv("TEST_CHECKED", "sleep 1")
    planned.run(day=5)
    run_id = ended(recorded, "run")["run_id"]
    heartbeats = [event for event in recorded.of("heartbeat") if event.get("run_id") == run_id]
    assert len(heartbeats) >= 3
