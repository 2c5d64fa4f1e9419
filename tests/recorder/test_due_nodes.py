"""A run announces the nodes that it is going to evaluate; evaluations that only audit say so."""

from __future__ import annotations

import pytest
from project import ALL_BUT_EXTERNAL, Project
from receiver import Receiver

EXTERNAL = '"shop"."ext"."source"'
SEED = '"shop"."t"."ref"'
AUDITED_EXTERNAL = """
    - name: ext.source
      columns: {id: int}
      audits:
      - name: not_null
        columns: '[id]'
"""


def test_a_run_announces_what_is_due_when_it_starts(planned: Project, recorded: Receiver) -> None:
    assert planned.run(day=5).is_success
    end = recorded.wait_for(lambda: recorded.of("run_ended"))[0]
    [due] = recorded.of("due")
    assert (due["run_id"], due["environment"]) == (end["run_id"], "prod")
    assert set(due["node_names"]) == ALL_BUT_EXTERNAL - {SEED}
    assert due["node_names"] == sorted(due["node_names"])
    types = [event["type"] for event in recorded.events]
    assert types.index("due") == types.index("run_started") + 1


def test_skipped_nodes_were_due(planned: Project, recorded: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_CHECKED", "raise")
    assert planned.run(day=5).is_failure
    recorded.wait_for(lambda: recorded.of("run_ended"))
    assert planned.witness.skipped <= set(recorded.of("due")[0]["node_names"])
    assert planned.witness.failed <= set(recorded.of("due")[0]["node_names"])


def test_a_selection_announces_only_itself(planned: Project, recorded: Receiver) -> None:
    assert planned.run(day=5, select_models=["t.checked"]).is_success
    recorded.wait_for(lambda: recorded.of("run_ended"))
    evaluated = {node for node, *_ in planned.witness.batches}
    assert set(recorded.of("due")[0]["node_names"]) == evaluated == {'"shop"."t"."checked"'}


def test_a_plan_announces_nothing(planned: Project, recorded: Receiver) -> None:
    planned.plan(day=5, run=True)
    recorded.wait_for(lambda: recorded.of("plan_ended"))
    assert recorded.of("due") == []


def test_an_audited_external_model_is_due_and_only_audited(planned: Project, recorded: Receiver) -> None:
    planned.write("external_models.yaml", AUDITED_EXTERNAL)
    planned.plan(day=5)
    recorded.wait_for(lambda: recorded.of("plan_ended"))
    assert planned.run(day=6).is_success
    end = recorded.wait_for(lambda: recorded.of("run_ended"))[0]
    assert EXTERNAL in {node for node, *_ in planned.witness.batches}
    assert EXTERNAL in recorded.of("due")[0]["node_names"]
    started = [event for event in recorded.of("evaluation_started") if event.get("run_id") == end["run_id"]]
    assert {event["node_name"] for event in started if event.get("only_audits")} == {EXTERNAL}
    [evaluation] = [event for event in started if event["node_name"] == EXTERNAL]
    [audit] = [a for a in recorded.of("audit") if a["evaluation_id"] == evaluation["evaluation_id"]]
    assert (audit["name"], audit["status"]) == ("not_null", "success")


def test_a_failing_audit_of_an_external_model_fails_its_evaluation_once(planned: Project, recorded: Receiver) -> None:
    planned.write("external_models.yaml", AUDITED_EXTERNAL)
    planned.plan(day=5)
    recorded.wait_for(lambda: recorded.of("plan_ended"))
    with planned.context() as context:
        context.engine_adapter.execute("INSERT INTO ext.source VALUES (NULL)")
    assert planned.run(day=6).is_failure
    end = recorded.wait_for(lambda: recorded.of("run_ended"))[0]
    [started] = [
        event
        for event in recorded.of("evaluation_started")
        if event.get("run_id") == end["run_id"] and event["node_name"] == EXTERNAL
    ]
    [ended] = [e for e in recorded.of("evaluation_ended") if e["evaluation_id"] == started["evaluation_id"]]
    assert ended["status"] == "failed"
    assert "not_null" in ended["error_message"]


def test_a_seed_that_is_not_loaded_is_due(project: Project, recorded: Receiver) -> None:
    project.plan(skip_backfill=True, no_gaps=True)
    recorded.wait_for(lambda: recorded.of("plan_ended"))
    project.run(day=5)
    recorded.wait_for(lambda: recorded.of("run_ended"))
    evaluated = {node for node, *_ in project.witness.batches}
    if SEED not in evaluated:
        pytest.skip("this SQLMesh loads seeds in plans only")
    assert SEED in recorded.of("due")[0]["node_names"]
    assert not [e for e in recorded.of("evaluation_started") if e["node_name"] == SEED and e.get("only_audits")]
