"""A sync that was requested for a plan: writes what succeeded, and fails if the plan did."""

from __future__ import annotations

from typing import Any

import scripted_messages as s
from dagster_runs import SYNC, run_job

MANIFEST = s.manifest(s.node("a"), s.node("b"), cloud="SQLMesh")
STEP = "populate_asset_info"


def test_the_plan_is_passed_on(definitions: Any, script: Any, instance: Any) -> None:
    defs = definitions(MANIFEST)
    script(sync=s.whole(s.success("a"), s.done()))

    def requested(**options: Any) -> list[str]:
        assert run_job(defs, instance, SYNC, **options).success
        return [argument for argument in script.calls("sync")[-1]["argv"] if argument.startswith("--plan")]

    assert requested() == []
    assert requested(config={"ops": {STEP: {"config": {"plan_id": "p1"}}}}) == ["--plan=p1"]
    assert requested(**{"tobiko/plan_id": "p2"}) == ["--plan=p2"]


def test_a_failed_plan_fails_the_step_after_what_succeeded_is_written(
    definitions: Any, script: Any, instance: Any
) -> None:
    script(
        sync=s.whole(
            s.success("a"),
            s.task("b", "failure", reason="no such column"),
            s.done("failure", "1 model could not be backfilled"),
        )
    )
    result = run_job(definitions(MANIFEST), instance, SYNC, **{"tobiko/plan_id": "p1"})
    assert result.status == "FAILURE"
    assert set(result.materializations(STEP)) == {"wh/s/a"}
    failure = result.failure(STEP)
    assert "plan p1 failed in SQLMesh: 1 model could not be backfilled" in failure.description
    assert failure.metadata["Log Link"].value == "http://cloud/r1"
    assert '"wh"."s"."b" failed in SQLMesh: no such column' in result.log(STEP)
    assert result.tags["tobiko/mirror"] == "complete", "the sensor would repeat it"


def test_an_interrupted_sync_of_a_plan_does_not_look_complete(definitions: Any, script: Any, instance: Any) -> None:
    script(sync=[s.OPENED, *s.success("a"), {"exit": 3}])
    result = run_job(definitions(MANIFEST), instance, SYNC, **{"tobiko/plan_id": "p1"})
    assert result.status == "FAILURE"
    assert "was interrupted after 1 events" in str(result.failure(STEP))
    assert "tobiko/mirror" not in result.tags


def test_a_sync_is_not_retried_by_dagster(definitions: Any) -> None:
    """The sensor repeats what was interrupted; Dagster's own retries would multiply with that."""
    tags = definitions(MANIFEST).get_job_def(SYNC).tags
    assert tags["dagster/max_retries"] == "0"
    assert tags["dagster/retry_on_asset_or_op_failure"] == "false"
