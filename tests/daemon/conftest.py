"""One deployment for all tests of this folder; each case has an environment, and so a sensor, of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from cloud_server import executable_under_test
from daemon_stack import SEEN, Stack, nodes
from scripted_cloud import scripted_cloud

CURSORS = {
    **{name: SEEN.format(name) for name in ("downtime", "killed", "cancelled", "outage", "hangs", "fails")},
    "paused": "paused-0",
    "original": "__initial_sync_complete__",
    "gone": "long-gone",
}
ENVIRONMENTS = [*CURSORS, "several", "going"]


def scenario() -> dict[str, Any]:
    """What had happened before the sensors were there."""
    quick = {"task_s": 0.2}
    seen = [
        {"id": f"{environment}-0", "environment": environment, "start_s": -1000, **quick}
        for environment in ENVIRONMENTS
    ]
    missed = [{"id": f"paused-{n}", "environment": "paused", "start_s": -900 + 10 * n, **quick} for n in range(1, 41)]
    before = [
        {"id": f"{environment}-{n}", "environment": environment, "start_s": -900 + 10 * n, **quick}
        for environment in ("original", "gone")
        for n in (1, 2)
    ]
    going = {"id": "going-1", "environment": "going", "start_s": -5, "task_s": 0.2, "ends": "never"}
    return {
        "environments": [{"name": environment, "nodes": nodes(environment, "a")} for environment in ENVIRONMENTS],
        "runs": [*seen, *missed, *before, going],
        # How a server may read `since_run_id`, which is not documented. The others leave that run out.
        "faults": [
            {"do": {"since_run_id": how}, "query": f"environment={environment}"}
            for environment, how in (("several", "included"), ("downtime", "ignored"), ("cancelled", "unknown"))
        ],
    }


@pytest.fixture(scope="session")
def nobody() -> Iterator[socket.socket]:
    """Takes connections, and answers nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, nobody: socket.socket) -> Iterator[Stack]:
    executable = executable_under_test()
    assert executable, "the executable is not there"
    folder = tmp_path_factory.mktemp("daemon")
    with scripted_cloud(executable, folder, **scenario()) as cloud, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens
        cloud.settled()
        stack = Stack(folder, executable, cloud, ENVIRONMENTS)
        try:
            stack.begin({"hangs": nobody.getsockname()[1], "fails": closed.getsockname()[1]}, CURSORS)
            start(stack)
            yield stack
        finally:
            stack.end()


def start(stack: Stack) -> None:
    """What happens while the daemon is there, and while it is not. The cases go on side by side; the tests look."""
    stack.wait_for("a tick of each sensor", lambda: all(map(stack.ticks, ENVIRONMENTS)))
    stack.wait_for("its mirror", lambda: stack.mirrors("paused"))
    stack.stop_sensor("paused")  # else 25 runs are mirrored beside all the other cases
    stack.wait_for("the first sync", lambda: any(run.status == "SUCCESS" for run in stack.syncs("several")))
    # A run whose launch the daemon takes with it is another case.
    stack.wait_for("a moment without a launch", lambda: not stack.launching())
    stack.dagster.kill("daemon")
    eight = [{"id": f"downtime-{n}", "environment": "downtime", "start_s": n / 100, "task_s": 0.1} for n in range(1, 9)]
    stack.cloud.order("runs", eight)
    for environment in ("hangs", "fails"):
        stack.cloud.environment(environment, nodes(environment, "a", "b"))
        stack.cloud.run(id=f"{environment}-1", environment=environment, task_s=0.1)
    for environment in ("killed", "cancelled"):
        stack.cloud.run(id=f"{environment}-1", environment=environment, ends="never", task_s=0.1)
    stack.cloud.wait_for_end("downtime-8")
    stack.cloud.fault({"slow_headers": 60}, query="environment=outage")
    stack.dagster.start_part("daemon")
    stack.ticks_once_more("several")
    three = [{"id": f"several-{n}", "environment": "several", "start_s": n / 100, "task_s": 0.1} for n in (1, 2, 3)]
    stack.cloud.order("runs", three)
