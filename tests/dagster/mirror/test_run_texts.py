"""What a mirror's run says to a person: the name of the cloud, failures that no step shows, a wrong run id."""

from __future__ import annotations

from typing import Any

import pytest
import scripted_messages as s
from dagster_runs import EACH_EXECUTOR, MIRROR, SYNC, run_job

EVERYTHING = s.whole(
    s.success("a"),
    s.task("b", "failure", reason="boom"),
    s.task("new", "failure", reason="bang"),
    s.done("failure", "1 failed"),
)


@pytest.mark.parametrize("cloud", ["SQLMesh", "Tobiko Cloud"])
def test_texts_name_the_cloud_that_is_mirrored(definitions: Any, script: Any, instance: Any, cloud: str) -> None:
    other = {"SQLMesh": "Tobiko Cloud", "Tobiko Cloud": "SQLMesh"}[cloud]
    script(mirror=EVERYTHING, sync=s.whole(s.done()))
    defs = definitions(s.manifest(s.node("a", checks=("x",)), s.node("b"), cloud=cloud))
    result = run_job(defs, instance)
    texts = [result.log(), result.failure("wh_s_b").description]
    assert f"View in {cloud}: http://cloud/a" in texts[0]
    assert f"requests to {cloud}" in texts[0]
    assert f"failed in {cloud}: boom" in texts[1]
    for job in (MIRROR, SYNC):
        graph = defs.get_job_def(job).graph
        texts += [graph.description or "", *(node.definition.description or "" for node in graph.nodes)]
    assert all(cloud in text for text in texts)
    assert not any(other in text for text in texts)


@EACH_EXECUTOR
def test_a_skipped_task_names_the_cloud(definitions: Any, script: Any, instance: Any, run_it: Any) -> None:
    script(mirror=s.whole(s.task("a", "skipped", reason="the run ended"), s.done()))
    result = run_it(definitions(s.manifest(s.node("a"), cloud="SQLMesh")), instance)
    assert "was skipped in SQLMesh: the run ended" in result.log("wh_s_a")


def test_without_a_name_it_is_tobiko_cloud(definitions: Any, script: Any, instance: Any) -> None:
    """A manifest that an earlier release has kept."""
    script(mirror=s.whole(s.success("a"), s.done()))
    assert "View in Tobiko Cloud: " in run_job(definitions(s.manifest(s.node("a"))), instance).log()


def test_a_failure_that_no_step_shows_is_in_the_runs_message(definitions: Any, script: Any, instance: Any) -> None:
    """It was evaluated, and failed, after its step had ended as not due."""
    script(
        mirror=s.whole(
            s.task("a", "nothing_due"),
            s.success("b"),
            s.task("a", "failure", reason="file not found", late=True),
            s.task("new", "failure", reason="no such column"),
            s.done("failure", "2 models failed"),
        )
    )
    result = run_job(definitions(s.manifest(s.node("a"), s.node("b"))), instance)
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "success"}
    failure = result.run_failure()
    assert "2 models failed" in failure
    assert '"wh"."s"."a" (file not found)' in failure
    assert '"wh"."s"."new" (no such column)' in failure
    assert "succeeded or was skipped" not in failure
    assert result.tags["tobiko/mirror"] == "complete"


def test_a_late_failure_is_in_the_runs_message_beside_failed_steps(
    definitions: Any, script: Any, instance: Any
) -> None:
    script(
        mirror=s.whole(
            s.task("a", "nothing_due"),
            s.task("b", "failure", reason="boom"),
            s.task("a", "failure", reason="file not found", late=True),
            s.done("failure", "2 models failed"),
        )
    )
    result = run_job(definitions(s.manifest(s.node("a"), s.node("b"))), instance)
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    assert '"wh"."s"."a" (file not found)' in result.run_failure()
    assert '"wh"."s"."b"' in result.run_failure()


def test_few_tags_are_shown_on_the_runs_page(definitions: Any, script: Any, instance: Any) -> None:
    """Dagster hides those that begin with `.dagster/`, and folds its own."""
    script(mirror=s.whole(s.success("a"), s.done()))
    tags = run_job(definitions(s.manifest(s.node("a"))), instance).tags
    assert {tag for tag in tags if not tag.startswith((".dagster/", "dagster/"))} == {
        "tobiko/environment",
        "tobiko/run_id",
        "tobiko/mirror",
    }
    assert ".dagster/tobiko_alive_at" in tags


def test_a_wrong_run_id_is_named(definitions: Any, script: Any, instance: Any) -> None:
    gave_up = s.custom(tobiko="done", outcome="gave_up", run_id=None, reason="no run 'x' in prod", tasks=0, requests=2)
    script(mirror=[s.OPENED, gave_up, s.CLOSED])
    result = run_job(definitions(s.manifest(s.node("a"))), instance, config={"run_id": "x"})
    assert result.status == "FAILURE"
    assert "no run 'x' in prod" in result.run_failure()
    assert "None" not in result.run_failure() + result.log().replace("NoneType", "")
    assert "gave_up" not in result.log()
