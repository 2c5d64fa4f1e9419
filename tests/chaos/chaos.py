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
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support")]

import dagster as dg  # noqa: E402
from accounts import MIRROR, SYNC, accounts  # noqa: E402
from deployment import LOCATION, PARTS, Deployment, Process  # noqa: E402
from postgres import postgres  # noqa: E402
from recorded import OWN_PROJECT_PATH, Recorder  # noqa: E402
from scripted_cloud import ScriptedCloud  # noqa: E402
from stall import Stalled, StallWatch  # noqa: E402

CLIENT = {"TCLOUD_CLIENT_ID": "dagster", "TCLOUD_CLIENT_SECRET": "hush-hush-chaos"}
# A mirror that breaks off is asked for again twice: the third attempt has to be left in peace.
ATTEMPTS = 3
NEW_RUN_EVERY_S = 20.0
# What SQLMesh does beside the simulated runs.
HAPPENINGS = ("plans", "late-runs", "projects")
# If nothing moves for so long, nothing will.
STALL_LIMIT_S = 300.0
# Of so many remote runs the mirrors are not struck by themselves, only by what strikes everything.
SPARED = 0.35

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


LOCATION_QUERY = """{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus locationOrLoadError {
  __typename ... on PythonError { message } ... on RepositoryLocation { repositories { sensors { name sensorState {
  status ticks(limit: 3) { status skipReason timestamp endTimestamp error { message } } } } } } } } } } }"""


class Chaos:
    def __init__(self, arguments: argparse.Namespace, folder: Path, storage: str) -> None:
        """`storage`: what dagster.yaml says of it."""
        self.seconds: float = arguments.seconds
        self.chance = random.Random(arguments.seed)
        self.folder = folder
        self.counts: Counter[str] = Counter()
        executable = arguments.executable
        os.environ.update(CLIENT)
        self.cloud = ScriptedCloud(executable, folder, self.scenario(arguments.seed, arguments.nodes), locked=True)
        env = {
            **CLIENT,
            # The plain one is nobody's as soon as there is another project.
            "TCLOUD_BASE_URL": f"{self.cloud.base_url}{OWN_PROJECT_PATH}",
            "TCLOUD_TOKEN_URL": self.cloud.token_url,
            "TOBIKO_FACADE_EXECUTABLE": executable,
            "TOBIKO_FACADE_POLL_INTERVAL_S": "1",
            "TOBIKO_FACADE_REQUEST_LIMIT_S": "3",
            "TOBIKO_FACADE_CALL_LIMIT_S": "10",
        }
        self.dagster = Deployment(folder, HERE / "definitions.py", storage, env)
        self.recorder = Recorder(
            self.cloud.base_url,
            self.cloud.token_url,
            (CLIENT["TCLOUD_CLIENT_ID"], CLIENT["TCLOUD_CLIENT_SECRET"]),
            random.Random(arguments.seed),
        )
        self.watch = StallWatch(self.dagsters_progress, self.waits_for, arguments.stall_limit)
        self.found: list[str] = []
        self.new_models = 0
        self.spared: dict[str, bool] = {}
        self.spares = SPARED
        self.waiting: list[Callable[[], bool]] = []
        self.happened: list[Callable[[], bool]] = []
        self.certain: list[Callable[[], bool]] = [
            self.kill_executable,
            self.kill_worker,
            self.kill_daemon,
            self.kill_code_server,
            self.kill_machine,
            self.add_model,
        ]
        if "plans" not in arguments.without:
            self.certain += [self.plan, self.failing_plan]
        if "late-runs" not in arguments.without:
            self.certain.append(self.late_run)
        self.has_projects = "projects" not in arguments.without

    def scenario(self, seed: int, nodes: int) -> dict[str, Any]:
        generate = {"models": nodes - 6, "layers": 6, "audits_each": 1, "seeds": 2, "standalone_audits": 4}
        trouble = {"failed": 0.02, "preempted": 0.01, "none": 0.15, "audit_failed": 0.08, "audit_blocks": 0.01}
        self.run = {"task_s": [0.5, 4], "lanes": 12, "chances": trouble}
        history = [{"id": f"old-{n}", "start_s": -600.0 * n, **self.run} for n in (2, 1)]
        return {"seed": seed, "environments": [{"generate": generate}], "runs": history}

    def begin(self) -> None:
        self.cloud.settled(STALL_LIMIT_S)
        self.dagster.start()
        os.environ["DAGSTER_HOME"] = str(self.dagster.home)
        with dg.DagsterInstance.get() as instance:

            def synced() -> bool:
                return any(run.is_finished for run in instance.get_runs(dg.RunsFilter(job_name=SYNC)))

            self.watch.wait_for("the first sync", synced)
        say(f"Dagster is at http://127.0.0.1:{self.dagster.page_port}, the cloud at {self.cloud.base_url}")

    def rage(self) -> None:
        """Remote runs, faults and kills, until the time is over."""
        begin = time.monotonic()
        end = begin + self.seconds
        next_run = begin
        self.chance.shuffle(self.certain)
        # Each of these happens, however short the time is, and has its turn.
        every_s = self.seconds / (len(self.certain) + 1)
        turns = list(self.certain)
        while time.monotonic() < end:
            # The last run has to begin early enough to meet with something.
            if time.monotonic() >= next_run and end - time.monotonic() > NEW_RUN_EVERY_S / 2:
                self.new_run()
                next_run += NEW_RUN_EVERY_S
            if turns and time.monotonic() >= end - every_s * len(turns):
                self.waiting.append(turns.pop())
            self.something()
            self.strike_for(self.chance.uniform(0.3, 2.5))
        until = time.monotonic() + STALL_LIMIT_S
        while self.missing() and time.monotonic() < until:
            self.waiting = self.missing()
            if self.all_mirrored():
                # So slow that its mirror is there to be struck even where Dagster takes long to launch it.
                self.spares = 0.0
                self.new_run(task_s=[4, 12])
            self.strike_for(2)
        self.cloud.clear_faults()
        say("no more trouble: the rest is mirrored in peace")

    def missing(self) -> list[Callable[[], bool]]:
        """What has found no victim yet."""
        return [act for act in self.certain if act not in self.happened]

    def new_run(self, **different: Any) -> None:
        self.cloud.run(**{**self.run, **different})
        self.counts["remote runs started"] += 1

    def something(self) -> None:
        kinds: dict[Callable[[], bool], float] = {
            self.fault: 16,
            self.fatal_fault: 0.5,
            self.kill_executable: 1,
            self.kill_worker: 1,
            self.kill_daemon: 0.3,
            self.kill_code_server: 0.3,
            self.kill_machine: 0.15,
            self.kill_webserver: 0.3,
            self.mirror_again: 0.5,
        }
        kinds.update({act: 0.4 for act in (self.plan, self.failing_plan, self.late_run) if act in self.certain})
        if self.has_projects:
            kinds[self.other_project] = 0.4
        (act,) = self.chance.choices(list(kinds), list(kinds.values()))
        if act == self.fault:
            act()
        elif act not in self.waiting:
            self.waiting.append(act)

    def strike_for(self, seconds: float) -> None:
        """What waits strikes when there is somebody to be struck, at any moment of a life."""
        self.recorder.send()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.2)
            if self.waiting and self.chance.random() < 0.15:
                acts = self.chance.sample(self.waiting, len(self.waiting))
                happened = next((act for act in acts if act()), None)
                if happened:
                    self.waiting.remove(happened)
                    self.happened.append(happened)
        for part in self.dagster.supervise():
            self.counts[f"started again: {part}"] += 1
        self.watch.look("somebody to strike" if self.waiting else "the next trouble")

    # Each says whether it happened.

    def fault(self) -> bool:
        (fault,) = self.chance.choices(FAULTS, [weight for weight, _, _ in FAULTS])
        _, do, rule = fault
        seconds = self.chance.uniform(1, 6)
        self.cloud.fault(do, to_s=seconds, **rule)
        word = do if isinstance(do, str) else next(iter(do))
        self.counts[f"fault: {word}"] += 1
        return True

    def fatal_fault(self) -> bool:
        """In a first attempt only: that of the second may come too late, and strike the third."""
        victim = self.victim(attempts=ATTEMPTS - 2)
        if not victim:
            return False
        run_id = remote_run_of(victim.argv)
        self.cloud.fault(self.chance.choice(FATAL), path=f"/api/v1/runs/{run_id}*", count=1, to_s=6)
        self.counts["fault that lasts"] += 1
        return True

    def kill_executable(self) -> bool:
        victim = self.victim(attempts=ATTEMPTS - 1)
        return self.killed("executable", bool(victim and victim.kill()))

    def kill_worker(self) -> bool:
        victim = self.victim(attempts=ATTEMPTS - 1)
        worker = next((one for one in self.dagster.processes() if victim and one.pid == victim.parent), None)
        return self.killed("run worker", bool(worker and worker.kill()))

    def kill_daemon(self) -> bool:
        """With it goes the launch of a run that it is about."""
        if self.one_has_its_last_chance():
            return False
        self.dagster.kill("daemon")
        return self.killed("daemon", True)

    def kill_webserver(self) -> bool:
        self.dagster.kill("webserver")
        return self.killed("webserver", True)

    def kill_code_server(self) -> bool:
        """With the process behind it, as a container would end. Run workers outlive it; what is about to start does not."""
        if self.one_has_its_last_chance():
            return False
        return self.killed("code server", any([process.kill() for process in self.dagster.code_server()]))

    def kill_machine(self) -> bool:
        """The code server, the run workers and what they have started. Nothing is left to report that the runs are over."""
        mirrors = self.mirrors_in_reach()
        if not mirrors or self.one_has_its_last_chance():
            return False
        workers = {mirror.parent for mirror in mirrors}
        there = [process for process in self.dagster.processes() if process.pid in workers]
        for process in [*self.dagster.code_server(), *there, *mirrors]:
            process.kill()
        return self.killed("code server with all run workers", True)

    def killed(self, what: str, was: bool) -> bool:
        self.counts[f"killed: {what}"] += was
        return was

    def add_model(self) -> bool:
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
        return True

    def plan(self) -> bool:
        """A plan evaluates some models, and no run does."""
        self.recorder.plan(self.nodes(), fails=False)
        self.counts["plans that ended well"] += 1
        return True

    def failing_plan(self) -> bool:
        self.recorder.plan(self.nodes(), fails=True)
        self.counts["plans that failed"] += 1
        return True

    def late_run(self) -> bool:
        """A run becomes known that ended before others which are known already."""
        self.recorder.late_run(self.nodes())
        self.counts["runs that became known late"] += 1
        return True

    def other_project(self) -> bool:
        """Another project on the same server, with an environment of the same name."""
        self.recorder.other_project(self.nodes())
        self.counts["runs of another project"] += 1
        return True

    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self.cloud.state()["environments"]["prod"]["nodes"]
        return nodes

    def mirror_again(self) -> bool:
        """By hand, while newer ones are mirrored: the oldest run that has been mirrored to its end."""
        mirrored = [run.tags["tobiko/run_id"] for run in self.asked_for() if "tobiko/mirror" in run.tags]
        if len(mirrored) < 2:
            return False
        selector = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION, "pipelineName": MIRROR}
        tags = [{"key": "tobiko/run_id", "value": mirrored[-1]}]
        parameters = {"selector": selector, "mode": "default", "executionMetadata": {"tags": tags}}
        query = "mutation ($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) { __typename } }"
        answer = self.dagster.ask(query, p=parameters)
        launched = bool(answer and answer["launchPipelineExecution"]["__typename"] == "LaunchRunSuccess")
        self.counts["mirrors launched by hand"] += launched
        return launched

    def victim(self, attempts: int) -> Process | None:
        """The executable of a mirror that may be struck: not after so many attempts."""
        for process in self.mirrors_in_reach():
            run_id = remote_run_of(process.argv)
            spared = self.spared.setdefault(run_id, self.chance.random() < self.spares)
            if not spared and self.attempts(run_id) <= attempts:
                return process
        return None

    def mirrors_in_reach(self) -> list[Process]:
        """Their executables. A mirror that dies with its worker is not struck twice."""
        there = {process.pid for process in self.dagster.processes()}
        return [process for process in self.dagster.mirrors() if process.parent in there]

    def asked_for(self, **tags: str) -> list[dg.DagsterRun]:
        """The mirrors that the sensor has asked for, newest first."""
        with dg.DagsterInstance.get() as instance:
            runs = instance.get_runs(dg.RunsFilter(job_name=MIRROR, tags=tags))
        return [run for run in runs if "dagster/run_key" in run.tags]

    def attempts(self, run_id: str) -> int:
        return len(self.asked_for(**{"tobiko/run_id": run_id}))

    def one_has_its_last_chance(self) -> bool:
        """Whether a mirror's last attempt goes on, or is about to be asked for."""
        newest = next(iter(self.asked_for()), None)
        if newest is None:
            return False
        attempts = self.attempts(newest.tags["tobiko/run_id"])
        if not newest.is_finished:
            return attempts >= ATTEMPTS
        return attempts == ATTEMPTS - 1 and "tobiko/mirror" not in newest.tags

    def all_mirrored(self) -> bool:
        """Whether every remote run has been mirrored, and nothing goes on."""
        state = self.cloud.state()
        if state["pending"] or any(not run["end_at"] for run in state["runs"]):
            return False
        runs = self.asked_for()
        mirrored = {run.tags["tobiko/run_id"] for run in runs if "tobiko/mirror" in run.tags}
        remote = {run["run_id"] for run in state["runs"] if not run["run_id"].startswith("old-")}
        remote |= self.recorder.late_runs
        return remote <= mirrored and all(run.is_finished for run in runs) and not self.dagster.mirrors()

    def settle(self) -> None:
        def settled() -> bool:
            self.dagster.supervise()
            return self.recorder.send() and self.all_mirrored() and self.plans_are_known()

        self.watch.wait_for("the last mirror", settled)
        # An old run, after all the newer ones.
        before = self.mirrored_by_hand()
        self.watch.wait_for("a launch by hand", self.mirror_again)
        self.watch.wait_for("the end of the mirror launched by hand", lambda: self.mirrored_by_hand() > before)

    def plans_are_known(self) -> bool:
        """Whether each plan that failed shows as a sync that failed, and no sync goes on."""
        with dg.DagsterInstance.get() as instance:
            syncs = instance.get_runs(dg.RunsFilter(job_name=SYNC))
        known = {run.tags.get("tobiko/plan_id") for run in syncs if run.is_finished}
        failed = {plan_id for plan_id, plan in self.recorder.plans.items() if plan["status"] == "failed"}
        return failed <= known and all(run.is_finished for run in syncs)

    def dagsters_progress(self) -> Any:
        """What changes whenever a mirror or a sync starts, ends or is requested."""
        with dg.DagsterInstance.get() as instance:
            runs = instance.get_runs()
        return Counter((run.job_name, run.status, "tobiko/mirror" in run.tags) for run in runs)

    def waits_for(self) -> str:
        """Why it may be that nothing moves: what is not mirrored, and what Dagster says of its location and its ticks."""
        with dg.DagsterInstance.get() as instance:
            runs = instance.get_runs()
        complete = {run.tags.get("tobiko/run_id") for run in runs if "tobiko/mirror" in run.tags}
        state = self.cloud.state()
        lines = [
            f"remote run {run['run_id']}: {run['status']}, mirrors {self.attempts(run['run_id'])}"
            for run in state["runs"]
            if run["run_id"] not in complete and not run["run_id"].startswith("old-")
        ]
        lines += [
            f"Dagster run {run.run_id} of {run.job_name}: {run.status.value}" for run in runs if not run.is_finished
        ]
        plans = {run.tags.get("tobiko/plan_id"): run.status.value for run in runs if run.job_name == SYNC}
        lines += [
            f"{plan_id} {plan['status']}: sync {plans.get(plan_id)}" for plan_id, plan in self.recorder.plans.items()
        ]
        lines += [f"has not happened: {act.__name__}" for act in self.missing()]
        location = self.dagster.ask(LOCATION_QUERY)
        lines.append(f"Dagster's location: {location or 'its page does not answer'}")
        for part in PARTS:
            log = self.folder / f"{part.replace(' ', '_')}.log"
            lines.append(f"{log.name}: ...{log.read_text(errors='replace')[-1500:] if log.exists() else ''}")
        return "\n".join(lines)

    def mirrored_by_hand(self) -> int:
        with dg.DagsterInstance.get() as instance:
            mirrored = instance.get_runs(dg.RunsFilter(job_name=MIRROR, tags={"tobiko/mirror": "complete"}))
        return len([run for run in mirrored if run.is_finished and "dagster/run_key" not in run.tags])

    def account(self) -> bool:
        state = self.cloud.state()
        for rule in state["faults"]:
            self.counts["requests that met a fault"] += rule["done"]
        with dg.DagsterInstance.get() as instance:
            found = accounts(instance, state, self.recorder.plans)
        found.faults += self.found
        found.faults += [f"it never came to {act.__name__}" for act in self.missing()]
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
    parser.add_argument("--without", nargs="*", choices=HAPPENINGS, default=[], help="what is not to happen")
    parser.add_argument(
        "--stall-limit", type=float, default=STALL_LIMIT_S, help="seconds without any progress that end it"
    )
    parser.add_argument("--storage", choices=("sqlite", "postgres"), default="sqlite", help="where Dagster keeps all")
    beside = Path(sys.executable).parent / "tobiko-facade"
    parser.add_argument("--executable", default=os.environ.get("TOBIKO_FACADE_EXECUTABLE") or str(beside))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Started in the background of a script, it would inherit that SIGINT is ignored, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in [name for name in os.environ if name.startswith(("TCLOUD_", "DAGSTER_"))]:
        del os.environ[name]

    folder = Path(tempfile.mkdtemp(prefix="tobiko-chaos-"))
    say(
        f"seed {arguments.seed}, {arguments.seconds:.0f} s, Dagster {dg.__version__}, {arguments.storage}; all logs are in "
        f"{folder}"
    )
    with ExitStack() as stack:
        storage = ""
        if arguments.storage == "postgres":
            server = stack.enter_context(postgres())
            storage = server.dagster_yaml(server.create_database())
        chaos = Chaos(arguments, folder, storage)
        stack.callback(chaos.end)
        try:
            chaos.begin()
            chaos.rage()
            chaos.settle()
        except Stalled as stalled:
            say(f"WRONG: {stalled}")
            return 1
        good = chaos.account()
    if good:
        shutil.rmtree(folder)
        say("all is well: nothing is missing, doubled, false or out of order")
        return 0
    say(f"not well, with seed {arguments.seed}; all logs are in {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
