"""Chaos: a real Dagster mirrors live runs of a scripted cloud, while the network, the login and every process fail at
random; then what Dagster has is compared with the truth.

    python chaos.py --seconds 600 [--seed N]

It needs this project installed (or PYTHONPATH and TOBIKO_FACADE_EXECUTABLE set). Exits with 1 when something is
missing, doubled, false or out of order. Time for the start and for the last mirrors comes on top.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "dagster")]

import dagster as dg  # noqa: E402
from accounts import MIRROR, SYNC, accounts  # noqa: E402
from deployment import CLIENT, Deployment  # noqa: E402
from scenario_side import ScriptedCloud  # noqa: E402

# A mirror that breaks off is asked for again twice: so often at most a remote run is harmed.
MOST_HARM = 2
NEW_RUN_EVERY_S = 15.0

# What passes by itself, whatever request it meets. Weights in brackets of rounds.
FAULTS: list[tuple[int, Any, dict[str, Any]]] = [
    (3, {"answer": {"status": 500}}, {"chance": 0.5}),
    (3, {"answer": {"status": 502, "body": "html"}}, {"chance": 0.5}),
    (2, {"answer": {"status": 503, "body": "html"}}, {}),
    (2, {"answer": {"status": 429, "retry_after_s": 1}}, {"chance": 0.5}),
    (1, {"answer": {"status": 429, "retry_after_date_s": 2}}, {"chance": 0.5}),
    (2, {"answer": {"status": 200, "body": "empty"}}, {"chance": 0.5}),
    (2, "drop", {"chance": 0.5}),
    (2, "reset", {"chance": 0.5}),
    (2, "cut", {"chance": 0.5}),
    (1, {"slow_headers": 2}, {"chance": 0.5}),
    (1, {"slow_headers": 30}, {"chance": 0.3}),
    (1, {"slow_body": 30}, {"chance": 0.3}),
    (2, {"redirect": "slash"}, {}),
    (3, "revoke_tokens", {"count": 1}),
    (2, {"answer": {"status": 500}}, {"path": "/auth/token"}),
    (1, {"answer": {"status": 503, "body": "html"}}, {"path": "/auth/token", "chance": 0.5}),
    (3, "refuse", {}),
    (1, {"since_run_id": "included"}, {}),
    (1, {"since_run_id": "ignored"}, {}),
    (1, {"since_run_id": "unknown"}, {}),
    (2, {"alter": ["null_execution_time", "times_without_zone", "unknown_fields"]}, {}),
]
# What does not: it is for the mirror of one remote run, which breaks off.
FATAL: list[Any] = [
    {"answer": {"status": 200, "body": "html"}},
    {"answer": {"status": 200, "body": "malformed"}},
    {"answer": {"status": 403}},
]


class Chaos:
    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self.seconds: float = arguments.seconds
        self.chance = random.Random(arguments.seed)
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.harm: Counter[str] = Counter()
        executable = arguments.executable
        os.environ.update(CLIENT)
        self.cloud = ScriptedCloud(executable, folder, self.scenario(arguments.seed, arguments.nodes), locked=True)
        self.dagster = Deployment(folder, executable, self.cloud.base_url, self.cloud.token_url)
        self.new_models = 0
        self.waiting: list[Callable[[], None]] = []

    def scenario(self, seed: int, nodes: int) -> dict[str, Any]:
        generate = {"models": nodes - 6, "layers": 6, "audits_each": 1, "seeds": 2, "standalone_audits": 4}
        trouble = {"failed": 0.02, "preempted": 0.01, "none": 0.15, "audit_failed": 0.08, "audit_blocks": 0.01}
        self.run = {"task_s": [0.3, 2.5], "lanes": 12, "chances": trouble}
        history = [{"id": f"old-{n}", "start_s": -600.0 * n, **self.run} for n in (2, 1)]
        return {"seed": seed, "environments": [{"generate": generate}], "runs": history}

    def begin(self) -> None:
        self.cloud.settled()
        self.dagster.start()
        os.environ["DAGSTER_HOME"] = str(self.dagster.home)
        with dg.DagsterInstance.get() as instance:

            def synced() -> bool:
                return any(run.is_finished for run in instance.get_runs(dg.RunsFilter(job_name=SYNC)))

            self.dagster.wait_for("the first sync", synced, 180)
        say(f"Dagster is at http://127.0.0.1:{self.dagster.page_port}, the cloud at {self.cloud.base_url}")

    def rage(self) -> None:
        """Remote runs, faults and kills, until the time is over."""
        end = time.monotonic() + self.seconds
        next_run = time.monotonic()
        # Each of these happens, however short the time is.
        certain = [self.kill_executable, self.kill_worker, self.kill_daemon, self.kill_code_server, self.add_model]
        self.chance.shuffle(certain)
        every_s = self.seconds / (len(certain) + 1)
        next_certain = time.monotonic() + every_s
        while time.monotonic() < end:
            # The last run has to begin early enough to meet with something.
            if time.monotonic() >= next_run and end - time.monotonic() > NEW_RUN_EVERY_S / 2:
                self.cloud.run(**self.run)
                self.counts["remote runs started"] += 1
                next_run += NEW_RUN_EVERY_S
            if certain and time.monotonic() >= next_certain:
                self.do(certain.pop())
                next_certain += every_s
            self.something()
            time.sleep(self.chance.uniform(0.3, 2.5))
            self.restarted(self.dagster.supervise())
        self.cloud.no_faults()
        say("no more trouble: the rest is mirrored in peace")

    def something(self) -> None:
        """What is for a mirror waits until there is one, and strikes it at any moment of its life."""
        kinds: dict[Callable[[], None], float] = {
            self.fault: 8,
            self.fatal_fault: 1,
            self.kill_executable: 4,
            self.kill_worker: 3,
            self.kill_daemon: 0.3,
            self.kill_code_server: 0.3,
            self.kill_webserver: 0.3,
        }
        (act,) = self.chance.choices(list(kinds), list(kinds.values()))
        self.do(act)
        if self.waiting and self.victims() and self.chance.random() < 0.5:
            self.waiting.pop(0)()

    def do(self, act: Callable[[], None]) -> None:
        if act in (self.fatal_fault, self.kill_executable, self.kill_worker):
            self.waiting = [*self.waiting, act][-4:]
        else:
            act()

    def fault(self) -> None:
        (fault,) = self.chance.choices(FAULTS, [weight for weight, _, _ in FAULTS])
        _, do, rule = fault
        seconds = self.chance.uniform(1, 6)
        self.cloud.fault(do, to_s=seconds, **rule)
        word = do if isinstance(do, str) else next(iter(do))
        self.counts[f"fault: {word}"] += 1

    def fatal_fault(self) -> None:
        for process in self.victims():
            run_id = remote_run_of(process.argv)
            self.cloud.fault(self.chance.choice(FATAL), path=f"/api/v1/runs/{run_id}*", count=1, to_s=10)
            self.harm[run_id] += 1
            self.counts["fault that lasts"] += 1

    def kill_executable(self) -> None:
        for process in self.victims():
            if process.kill():
                self.harmed("executable", process.argv)

    def kill_worker(self) -> None:
        """Only one whose code server is there to notice: else nobody ever tells Dagster that the run is over."""
        living = {process.pid: process for process in self.dagster.processes()}
        servers = {process.pid for process in self.dagster.code_server()}
        for process in self.victims():
            worker = living.get(process.parent)
            if worker and worker.parent in servers and worker.kill():
                self.harmed("run worker", process.argv)

    def kill_daemon(self) -> None:
        self.dagster.kill("daemon")
        self.counts["killed: daemon"] += 1

    def kill_webserver(self) -> None:
        self.dagster.kill("webserver")
        self.counts["killed: webserver"] += 1

    def kill_code_server(self) -> None:
        """With the process behind it, as a container would end. Run workers outlive it; what is about to start does not."""
        going = self.going()
        if any(self.harm[run_id] >= MOST_HARM for run_id in going):
            return
        victims = self.dagster.code_server()
        for process in victims:
            process.kill()
        self.harm.update(going)
        self.counts["killed: code server"] += bool(victims)

    def add_model(self) -> None:
        """A model comes, so that the code location has to be loaded again."""
        dag = self.cloud.state()["environments"]["prod"]
        nodes = [
            {
                "name": node["name"],
                "parents": node["parent_names"],
                "audits": node["audit_names"],
                "source_type": node["source_type"],
            }
            for node in dag["nodes"]
        ]
        self.new_models += 1
        new = {"name": f'"lake"."layer_1"."new_{self.new_models}"', "audits": ["audit_1"], "parents": []}
        self.cloud.order("environments", {"nodes": [*nodes, new]})
        self.counts["models added"] += 1

    def victims(self) -> list[Any]:
        """One mirror that may still be harmed, if there is one."""
        mirrors = [process for process in self.dagster.mirrors() if self.harm[remote_run_of(process.argv)] < MOST_HARM]
        return self.chance.sample(mirrors, min(1, len(mirrors)))

    def harmed(self, what: str, argv: tuple[str, ...]) -> None:
        self.counts[f"killed: {what}"] += 1
        self.harm[remote_run_of(argv)] += 1

    def going(self) -> set[str]:
        """The remote runs whose mirrors have been asked for and have not ended."""
        with dg.DagsterInstance.get() as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name=MIRROR), limit=10)
        return {run.tags.get("tobiko/run_id", "") for run in runs if not run.is_finished}

    def restarted(self, parts: list[str]) -> None:
        for part in parts:
            self.counts[f"started again: {part}"] += 1

    def settle(self) -> None:
        """Waits until every remote run has been mirrored, and nothing goes on."""

        def settled() -> bool:
            self.restarted(self.dagster.supervise())
            state = self.cloud.state()
            if state["pending"] or any(not run["end_at"] for run in state["runs"]):
                return False
            with dg.DagsterInstance.get() as instance:
                runs = instance.get_runs(dg.RunsFilter(job_name=MIRROR))
            told = {run.tags.get("tobiko/run_id") for run in runs if "tobiko/mirror" in run.tags}
            remote = {run["run_id"] for run in state["runs"] if not run["run_id"].startswith("old-")}
            return remote <= told and all(run.is_finished for run in runs)

        try:
            self.dagster.wait_for("the last mirror", settled, 120 + self.seconds)
        except TimeoutError as error:
            say(f"{error}: what is missing is told below")

    def account(self) -> bool:
        state = self.cloud.state()
        for rule in state["faults"]:
            self.counts["requests that met a fault"] += rule["done"]
        with dg.DagsterInstance.get() as instance:
            found = accounts(instance, state, {run_id for run_id, harm in self.harm.items() if harm})
        for what, count in sorted({**self.counts, **found.counts}.items()):
            say(f"{count:7} {what}")
        for fault in found.faults:
            say(f"WRONG: {fault}")
        return not found.faults

    def end(self) -> None:
        self.dagster.end()
        self.cloud.stop()


def remote_run_of(argv: tuple[str, ...]) -> str:
    return next((word.partition("=")[2] for word in argv if word.startswith("--run-id=")), "")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600, help="how long things go wrong")
    parser.add_argument("--nodes", type=int, default=60, help="of the remote DAG")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    beside = Path(sys.executable).parent / "tobiko-facade"
    parser.add_argument("--executable", default=os.environ.get("TOBIKO_FACADE_EXECUTABLE") or str(beside))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in [name for name in os.environ if name.startswith(("TCLOUD_", "DAGSTER_"))]:
        del os.environ[name]

    folder = Path(tempfile.mkdtemp(prefix="tobiko-chaos-"))
    say(f"seed {arguments.seed}, {arguments.seconds:.0f} s, Dagster {dg.__version__}; all logs are in {folder}")
    chaos = Chaos(arguments, folder)
    try:
        chaos.begin()
        chaos.rage()
        chaos.settle()
        good = chaos.account()
    finally:
        chaos.end()
    if good:
        shutil.rmtree(folder)
        say("all is well: nothing is missing, doubled, false or out of order")
        return 0
    say(f"not well, with seed {arguments.seed}; all logs are in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
