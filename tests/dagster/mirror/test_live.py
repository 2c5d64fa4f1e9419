"""A run that is mirrored while it is in progress, and one with many tasks."""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest
from dagster_runs import MIRROR, check_status, run_job, steps_with
from recorded_cloud import Cloud, model
from waiting import wait_until

POLL_S = 0.5
# What Dagster may need to write, on a machine that does other things too.
WRITING_S = 10.0


def test_30_tasks_in_waves_start_and_end_with_their_remote_tasks(
    cloud: Cloud, load: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Roots: a seed, an external model and one that is not due. Two tasks fail.

    The scheduler ends a wave's tasks only when Dagster shows their steps as started, and begins the next wave
    only when it shows them as ended: a mirror that waits for the end of the run would hang here.
    """
    monkeypatch.setenv("TOBIKO_FACADE_POLL_INTERVAL_S", str(POLL_S))
    waves = [[f"w{wave}_{n}" for n in range(9)] for wave in range(3)]
    nodes = [
        model("seed", source_type="seed"),
        model("external", source_type="external"),
        model("not_due"),
        *(model(name, "seed", "external", "not_due") for name in waves[0]),
        *(model(name, above) for name, above in zip(waves[1], waves[0])),
        *(model(name, above) for name, above in zip(waves[2], waves[1])),
    ]
    assert len(nodes) == 30
    cloud.environment(*nodes)
    run = cloud.run("live")
    failing = {"w1_3": "division by zero", "w1_7": "no such column"}
    below = {f"w2_{name[3:]}" for name in failing}
    ended_at: dict[str, float] = {}
    failures: list[BaseException] = []

    def scheduler() -> None:
        for wave in waves:
            reachable = [name for name in wave if name not in below]
            steps = {f"wh_s_{name}" for name in reachable}
            for name in reachable:
                run.started(name)
            wait_until(lambda steps=steps: steps <= steps_with(instance, "STEP_START"))
            for name in reachable:
                run.ended(name, "failed" if name in failing else "success", failing.get(name))
                ended_at[name] = time.time()
            wait_until(lambda steps=steps: steps <= steps_with(instance, "STEP_SUCCESS", "STEP_FAILURE"))
        run.end("failed", "2 models failed")

    def watched() -> None:
        try:
            scheduler()
        except BaseException as failure:
            failures.append(failure)
            run.end("failed", "the test is over")

    thread = threading.Thread(target=watched)
    thread.start()
    result = run_job(load(), instance)
    thread.join()

    assert not failures, failures
    assert result.status == "FAILURE"
    steps = result.steps()
    assert {steps.pop(f"wh_s_{name}") for name in ("seed", "external", "not_due")} == {"success"}
    assert {name for name, end in steps.items() if end == "failure"} == {"wh_s_w1_3", "wh_s_w1_7"}
    assert len(steps) == 27 - 2  # what depends on the failed is not executed
    for name, message in failing.items():
        failure = result.failure(f"wh_s_{name}")
        assert message in failure.description
        assert failure.metadata["Debugger"].value.startswith(cloud.base_url)
    for name, remote_end in ended_at.items():
        (end,) = result.events("STEP_FAILURE" if name in failing else "STEP_SUCCESS", f"wh_s_{name}")
        assert -0.1 < end.timestamp - remote_end < POLL_S + WRITING_S, name
    assert len(result.materializations()) == 9 + 7 + 7


def test_the_number_of_requests_does_not_depend_on_the_number_of_tasks(cloud: Cloud, load: Any, instance: Any) -> None:
    requests = []
    for count in (1, 40):
        cloud.environment(*(model(f"m{n}") for n in range(count)), at=1000.0 + count)
        run = cloud.run(f"r{count}", 2000.0 + count)
        for n in range(count):
            run.evaluated(f"m{n}")
        run.end()
        result = run_job(load(), instance, **{"tobiko/run_id": f"r{count}"})
        found = re.search(rf"{count} tasks were reported with (\d+) requests", result.log())
        assert found, result.log()
        requests.append(int(found.group(1)))
    assert requests[0] == requests[1]


def test_100_finished_tasks_with_two_checks_each_are_mirrored(cloud: Cloud, load: Any, instance: Any) -> None:
    names = [f"m{n}" for n in range(100)]
    cloud.environment(*(model(name, audits=("not_null", "unique")) for name in names))
    run = cloud.run("r1")
    for name in names:
        run.evaluated(name, "not_null", "unique")
    run.end()
    defs = load()
    defs.get_job_def(MIRROR)
    began = time.monotonic()
    result = run_job(defs, instance)
    # Printed, not asserted: how long it takes depends on what else the machine does.
    print(f"100 tasks with 200 checks were mirrored in {time.monotonic() - began:.1f} s")
    assert result.success
    assert len(result.materializations()) == 100
    assert len(result.checks()) == 200
    assert check_status(instance, "wh/s/m99", "unique") == "SUCCEEDED"
