"""A sensor that reloads its own code location, on a real daemon: the run that it requests with it is launched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cloud_server import executable_under_test
from daemon_stack import SEEN, Stack, nodes
from scripted_cloud import scripted_cloud

NAME = "reloads"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A deployment of its own: the reload is one of all sensors of the code location."""
    executable = executable_under_test()
    assert executable, "the executable is not there"
    folder = tmp_path_factory.mktemp(NAME)
    before = {"id": f"{NAME}-0", "environment": NAME, "start_s": -1000, "task_s": 0.2}
    environments = [{"name": NAME, "nodes": nodes(NAME, "a")}]
    with scripted_cloud(executable, folder, environments=environments, runs=[before]) as cloud:
        cloud.settled()
        stack = Stack(folder, executable, cloud, [NAME])
        try:
            stack.begin({NAME: 0}, {NAME: SEEN.format(NAME)})
            yield stack
        finally:
            stack.end()


def steps(stack: Stack, key: str) -> set[str | None]:
    (run,) = [run for run in stack.mirrors(NAME) if run.key == key]
    entries = stack.instance.all_logs(run.run.run_id)
    return {entry.step_key for entry in entries if entry.dagster_event and entry.dagster_event.is_step_success}


def test_a_run_that_evaluated_nothing_new_is_mirrored_by_the_tick_that_reloads(stack: Stack) -> None:
    stack.ticks_once_more(NAME)
    stack.stop_sensor(NAME)
    stack.cloud.environment(NAME, nodes(NAME, "a", "b"))
    stack.cloud.run(id=f"{NAME}-1", environment=NAME, task_s=0.1, nodes={"*.a": "success", "*.b": "none"})
    stack.cloud.wait_for_end(f"{NAME}-1")
    stack.start_sensor(NAME)
    (run,) = stack.mirrored(NAME, f"{NAME}-1")
    assert run.status == "SUCCESS"
    (tick,) = [tick for tick in stack.ticks(NAME) if tick["runKeys"]]
    assert any("was reloaded" in event["message"] for event in tick["logEvents"]["events"])
    assert f"{NAME}_{NAME}_s_a" in steps(stack, f"{NAME}-1")
    assert stack.newest_materialization(NAME) == f"{NAME}-1"

    stack.cloud.run(id=f"{NAME}-2", environment=NAME, task_s=0.1)
    stack.mirrored(NAME, f"{NAME}-1", f"{NAME}-2")
    assert steps(stack, f"{NAME}-2") == {f"{NAME}_{NAME}_s_a", f"{NAME}_{NAME}_s_b"}
    assert stack.warnings(NAME) == []
