"""The vendor's own client reads every endpoint: its models must accept the local cloud's responses."""

from __future__ import annotations

import base64
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import LocalCloud
from story import ORDERS, REVENUE, SEED, TOTALS, Story, at, environment, node


@pytest.fixture
def api(cloud: LocalCloud, story: Story) -> Iterator[Any]:
    from tobikodata.http_client import V1ApiClient

    cloud.forget_login()
    yield V1ApiClient.create(
        base_url=f"{cloud.url}/", oauth_client_id=cloud.client_id, oauth_client_secret=cloud.client_secret
    )
    cloud.forget_login()


def test_the_dag_is_the_one_that_was_planned(api: Any, story: Story) -> None:
    dag = api.dags.get_dag_for_environment("prod")
    assert (dag.environment, dag.schedule_seconds, dag.schedule_cron) == ("prod", 300, "*/5 * * * *")
    assert dag.start_at.isoformat() == "2024-01-01T00:00:00+00:00"
    read = [node.model_dump(mode="json") for node in dag.nodes]
    for given, planned in zip(read, story.nodes):
        assert given.pop("link").startswith(str(dag.link) + "/models/")
        assert given == {key: value for key, value in planned.items() if key != "version"}
    assert len(read) == len(story.nodes)


def test_an_environment_may_have_a_slash_in_its_name(api: Any, cloud: LocalCloud) -> None:
    cloud.record([environment("release/1.2", node('"cafe"."a b"."ü/%?#"', "sql", [], []))])
    dag = api.dags.get_dag_for_environment("release/1.2")
    assert (dag.environment, dag.nodes[0].name) == ("release/1.2", '"cafe"."a b"."ü/%?#"')
    for link in (dag.link, dag.nodes[0].link):
        assert_is_page(str(link), cloud)


def test_an_environment_that_does_not_exist_has_no_dag_and_no_runs(api: Any) -> None:
    assert api.dags.get_dag_for_environment("nowhere") is None
    assert api.runs.get_last_run_for_environment("nowhere") is None
    assert api.evaluations.get_latest_evaluations_for_environment("nowhere") == []


def test_runs_are_searched_as_the_client_requests(api: Any) -> None:
    def found(**query: Any) -> list[str]:
        return [run.run_id for run in api.runs.search(**query)]

    assert found() == ["run-3", "run-2", "run-1"]
    assert found(environment="prod", sort="asc") == ["run-1", "run-2", "run-3"]
    assert found(environment="prod", last=True) == ["run-3"]
    assert found(since_run_id="run-1", sort="asc") == ["run-2", "run-3"]
    assert found(since_run_id="run-3") == []
    assert found(since_run_id="nothing") == []
    assert found(limit=1) == ["run-3"]
    assert api.runs.get_last_run_for_environment("prod").run_id == "run-3"


def test_a_run_has_times_status_and_message(api: Any) -> None:
    failed, open_run = api.runs.get_run_by_id("run-2"), api.runs.get_run_by_id("run-3")
    assert (failed.status.value, failed.complete) == ("failed", True)
    assert (failed.start_at, failed.end_at) == (at(200), at(210))
    assert failed.error_message == "1 of 3 nodes failed"
    assert (open_run.status.value, open_run.complete, open_run.end_at) == ("in_progress", False, None)
    assert api.runs.get_run_by_id("nothing") is None


def test_a_run_has_its_evaluations_batch_by_batch(api: Any) -> None:
    evaluations = api.runs.get_evaluations("run-1")
    assert [e.evaluation_id for e in evaluations] == ["run-1-orders-1", "run-1-orders-2", "run-1-totals"]
    assert {e.run_id for e in evaluations} == {"run-1"}
    batches = api.runs.get_evaluations_for_node("run-1", ORDERS)
    assert [e.evaluation_id for e in batches] == ["run-1-orders-1", "run-1-orders-2"]
    assert api.runs.get_evaluations_for_node("run-1", REVENUE) == []
    assert [e.status.value for e in api.runs.get_evaluations("run-3")] == ["in_progress", "scheduled"]


def test_an_evaluation_has_its_audits(api: Any) -> None:
    evaluation = api.evaluations.get_evaluation_by_id("run-2-orders")
    assert (evaluation.node_name, evaluation.status.value) == (ORDERS, "failed")
    assert evaluation.error_message == "audit not_null failed"
    assert evaluation.log == "run-2-orders\nended"
    assert (evaluation.start_at, evaluation.end_at) == (at(201), at(202))
    audit = evaluation.audits_by_name["not_null"]
    assert (audit.status.value, audit.execution_time) == ("failed", at(201.5))
    assert (audit.interval_start, audit.interval_end) == (at(-3600), at(0))
    assert audit.log == f"the query of not_null for {ORDERS}"
    assert api.evaluations.get_evaluation_by_id("nothing") is None


def test_evaluations_are_searched_as_the_client_requests(api: Any) -> None:
    def found(**query: Any) -> list[str]:
        return [evaluation.evaluation_id for evaluation in api.evaluations.search(**query)]

    assert found(plan_id="plan-1") == ["plan-seed", "plan-orders", "plan-revenue"]
    assert found(run_id="run-2") == ["run-2-orders"]
    assert found(node_name=TOTALS) == ["run-1-totals", "run-3-totals"]
    assert found(environment="prod", node_name=ORDERS, sort="desc", limit=2) == [
        "run-2-orders",
        "run-1-orders-2",
    ]
    assert found(environment="prod", latest=False, limit=1) == ["plan-seed"]


def test_latest_is_the_newest_of_each_node(api: Any) -> None:
    latest = api.evaluations.get_latest_evaluations_for_environment("prod")
    assert {e.node_name: e.evaluation_id for e in latest} == {
        SEED: "plan-seed",
        ORDERS: "run-2-orders",
        REVENUE: "run-3-revenue",
        TOTALS: "run-1-totals",
    }
    assert len(latest) == 4


def test_the_links_that_the_public_helper_builds_lead_to_pages(api: Any, cloud: LocalCloud) -> None:
    from tobikodata.helpers.link import TobikoCloudLinkGenerator

    links = TobikoCloudLinkGenerator(environment="prod", base=cloud.url)
    given = api.evaluations.get_evaluation_by_id("run-2-orders")
    assert str(given.link) == links.get_run_evaluation_overview_url("run-2", ORDERS, "run-2-orders")
    assert str(given.log_link) == links.get_run_evaluation_log_url("run-2", ORDERS, "run-2-orders")
    planned = api.evaluations.get_evaluation_by_id("plan-orders")
    assert str(planned.link) == links.get_plan_evaluation_overview_url("plan-1", ORDERS, "plan-orders")
    assert str(api.runs.get_run_by_id("run-2").link) == links.get_run_summary_url("run-2")
    assert str(api.dags.get_dag_for_environment("prod").link) == links.get_environment_url()
    for link in (
        links.get_environment_url(),
        links.get_model_details_url(urllib.parse.quote(REVENUE), "1"),
        links.get_run_summary_url("run-1"),
        links.get_run_audits_url("run-1"),
        links.get_run_evaluation_overview_url("run-1", ORDERS, "run-1-orders-1"),
        links.get_run_evaluation_log_url("run-1", ORDERS, "run-1-orders-1"),
        links.get_plan_summary_url("plan-1"),
        links.get_plan_audits_url("plan-1"),
        links.get_plan_evaluation_overview_url("plan-1", SEED, "plan-seed"),
        links.get_plan_evaluation_log_url("plan-1", SEED, "plan-seed"),
    ):
        assert_is_page(link, cloud)


def assert_is_page(link: str, cloud: LocalCloud) -> None:
    login = base64.b64encode(f"{cloud.client_id}:{cloud.client_secret}".encode()).decode()
    request = urllib.request.Request(link, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")


def test_a_wrong_secret_is_rejected(api: Any, cloud: LocalCloud) -> None:
    from tobikodata.http_client import V1ApiClient

    wrong = V1ApiClient.create(base_url=cloud.url, oauth_client_id=cloud.client_id, oauth_client_secret="wrong")
    with pytest.raises(ValueError, match="client credentials"):
        wrong.runs.search()


def test_a_made_up_token_is_rejected(cloud: LocalCloud) -> None:
    from tobikodata.http_client import HttpClientError, V1ApiClient

    with pytest.raises(HttpClientError) as raised:
        V1ApiClient.create(base_url=cloud.url, token="made-up").runs.search()
    assert raised.value.status_code == 401
