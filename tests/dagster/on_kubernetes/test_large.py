"""1,000 tasks with two checks each, by the pod's log and by a child process: all arrive. By hand: it takes minutes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from cluster import REAL, Cluster
from dagster_runs import run_job
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model

COUNT = int(os.environ.get("COUNT", "1000"))
IMAGE = "tobiko-facade:test"


@pytest.fixture
def distant(executable: str, tmp_path: Path) -> Iterator[Cluster]:
    """The stand-in as a process of its own: it does not compete with Dagster for Python's lock."""
    if REAL:
        pytest.skip("as quick as that cluster is")
    kubeconfig = tmp_path / "kubeconfig"
    program = Path(__file__).with_name("api_server.py")
    command = [sys.executable, program, "--kubeconfig", kubeconfig, "--image", f"{IMAGE}={Path(executable).parent}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        yield Cluster(kubeconfig, IMAGE, None)
        server.kill()


def test_1000_tasks_with_two_checks_each_arrive(
    cloud: Cloud, distant: Cluster, load: Any, empty_home: Path, fast_folder: Path, capfd: Any
) -> None:
    distant.namespace = "dagster"
    distant.secret(TCLOUD_CLIENT_ID=CLIENT_ID, TCLOUD_CLIENT_SECRET=CLIENT_SECRET)
    names = [f"m{n}" for n in range(COUNT)]
    cloud.environment(*(model(name, audits=("not_null", "unique")) for name in names))
    run = cloud.run("r1")
    for name in names:
        run.evaluated(name, "not_null", "unique")
    run.end()
    took = {}
    for way, options in (("child", {}), ("pod", {"launcher": distant.launcher()})):
        shutil.copytree(empty_home, fast_folder / way)
        with dg.DagsterInstance.from_config(str(fast_folder / way)) as instance:
            defs = load(options)
            began = time.monotonic()
            result = run_job(defs, instance)
            took[way] = time.monotonic() - began
            assert result.success, result.log()[-3000:]
            assert len(result.materializations()) == COUNT
            assert len(result.checks()) == 2 * COUNT
    # Printed, not asserted: it depends on what else the machine does.
    with capfd.disabled():
        print(f"child {took['child']:.1f} s, pod {took['pod']:.1f} s, {took['pod'] / took['child']:.2f} times")
