"""The figures: what is measured, on which side, how often."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import channel
from cloud import RUN, Cloud, cloud
from recorded import ALONE, AWAY, RECORDED, planned
from rows import Rows
from side import Home, Outcome, Side, home
from storages import Storage

OURS, ORIGINAL, FLOOR = "tobiko-facade", "original", "floor"

# The original reports its materializations and checks as events of no run.
OF_NO_RUN = ""

# The first task of a live run ends so long after the mirror was launched: it has started by then.
HEAD_START_S = 12.0
ENDS_A_SECOND = 4

Measure = Callable[[], tuple[dict[str, Any], dict[str, int]]]


@dataclass
class Bench:
    ours: Side
    original: Side
    executable: str
    rows: Rows
    repeat: int
    # A side that has taken so long for one figure is not repeated any more.
    budget_s: float
    storage: Storage

    @contextmanager
    def cloud(self, models: int, batches: int = 1) -> Iterator[Cloud]:
        with (
            tempfile.TemporaryDirectory(prefix="facade-bench-cloud-") as folder,
            cloud(self.executable, Path(folder), models, batches) as served,
        ):
            yield served

    @contextmanager
    def home(self, side: str, served: Cloud) -> Iterator[Home]:
        with home(self.original if side == ORIGINAL else self.ours, served, self.storage) as place:
            yield place

    def in_turns(self, figure: str, models: int, sides: dict[str, Measure], least: int = 1) -> None:
        """One side after the other, again and again: what the machine does meanwhile meets all alike. `least`: how often the
        sides that a ratio to the floor is made of are measured, however long they take."""
        figure += self.storage.label
        spent = dict.fromkeys(sides, 0.0)
        for turn in range(self.repeat):
            for side, measure in sides.items():
                if turn >= (1 if side == ORIGINAL else least) and spent[side] > self.budget_s:
                    continue
                begun = time.monotonic()
                numbers, events = measure()
                spent[side] += time.monotonic() - begun
                self.rows.add(figure, models, side, numbers, events)
                shown = {name: round(value, 3) for name, value in numbers.items() if value is not None}
                print(
                    f"{time.strftime('%H:%M:%S')} {figure}, {models} models, {side}: {shown}",
                    file=sys.stderr,
                    flush=True,
                )


def warm_up(bench: Bench, with_original: bool) -> None:
    """Each side once, not counted: what is read from the disk for the first time is in memory then."""
    with bench.cloud(10) as served:
        for side in sides(with_original):
            with bench.home(side, served) as place:
                for command in (("load",), ("sync",), *([("mirror", RUN)] if side == OURS else [])):
                    place.measure(*command)


def load(bench: Bench, models: int, with_original: bool) -> None:
    """The process of a code server up to the point where it can answer; `of_it_load`: without Dagster's own imports."""
    with bench.cloud(models) as served:

        def measure(side: str) -> Measure:
            def once() -> tuple[dict[str, Any], dict[str, int]]:
                with bench.home(side, served) as place:
                    outcome = place.measure("load")
                    return {**numbers(outcome), "load s": outcome.answer["load_s"]}, {}

            return once

        bench.in_turns("load the code location", models, {side: measure(side) for side in sides(with_original)})


def tick(bench: Bench, models: int, with_original: bool) -> None:
    """The sensor in a code server that is up: one tick of ten, without news."""
    cursors = {OURS: f'{{"version": 1, "last": "{RUN}", "synced": true}}', ORIGINAL: RUN}
    with bench.cloud(models) as served:

        def measure(side: str) -> Measure:
            def once() -> tuple[dict[str, Any], dict[str, int]]:
                with bench.home(side, served) as place:
                    ticks = place.measure("tick", "11", BENCH_CURSOR=cursors[side]).answer["ticks_s"]
                    return {"wall_s": median(ticks[1:])}, {}

            return once

        bench.in_turns("sensor tick without news", models, {side: measure(side) for side in sides(with_original)})


def sync(bench: Bench, models: int, with_original: bool) -> None:
    """The first sync, and a second one in the same instance: nothing is new."""
    with bench.cloud(models) as served, recording() as recorded:

        def measure(side: str) -> Measure:
            def once() -> tuple[dict[str, Any], dict[str, int]]:
                with bench.home(side, served) as place:
                    first = place.measure(*job(side, "sync"), BENCH_RECORDING=recorded)
                    events = written(place, first)
                    if side == OURS:
                        place.do("record", first.answer["run_id"], BENCH_RECORDING=recorded)
                    if side != FLOOR:
                        again = place.measure("sync")
                        bench.rows.add(f"second sync, no news{bench.storage.label}", models, side, numbers(again), {})
                    return numbers(first), events

            return once

        bench.in_turns(
            "first sync", models, {side: measure(side) for side in sides(with_original, floor=True)}, least=2
        )


def mirror_finished(bench: Bench, models: int, with_original: bool) -> None:
    with bench.cloud(models) as served, recording() as recorded:

        def measure(side: str) -> Measure:
            def once() -> tuple[dict[str, Any], dict[str, int]]:
                with bench.home(side, served) as place:
                    outcome = place.measure(*job(side, "mirror", RUN), BENCH_RECORDING=recorded)
                    run_id = outcome.answer["run_id"]
                    if side == OURS:
                        place.do("record", run_id, BENCH_RECORDING=recorded)
                    return numbers(outcome), written(place, outcome)

            return once

        figure = "mirror of a finished run"
        bench.in_turns(figure, models, {side: measure(side) for side in sides(with_original, floor=True)}, least=2)


def mirror_live(bench: Bench, models: int, with_original: bool, wave: bool = False) -> None:
    """From a task's remote end to the end of its step. `beyond the floor`: less what Dagster takes to write the events of
    the tasks that were told before it in the same look, and its own."""
    what = "all at once" if wave else f"{ENDS_A_SECOND} a second"
    with bench.cloud(models) as served, recording() as recorded:

        def measure(side: str) -> Measure:
            def once() -> tuple[dict[str, Any], dict[str, int]]:
                with bench.home(side, served) as place:
                    run_id = start(served, wave)
                    outcome = place.measure("mirror", run_id, RUST_LOG="tobiko_facade=debug")
                    told = place.do("events", outcome.answer["run_id"])
                    delays = delays_of(served, run_id, told["ends"])
                    found = {**numbers(outcome), **spread("delay", list(delays.values()))}
                    if side == OURS:
                        place.do("record", outcome.answer["run_id"], BENCH_RECORDING=recorded)
                        floor = place.measure("floor", BENCH_RECORDING=recorded)
                        beyond = beyond_floor(served, run_id, delays, outcome.stderr, floor.answer["run_s"] / models)
                        found = {**found, **beyond}
                    return found, written(place, outcome)

            return once

        bench.in_turns(f"mirror of a live run, tasks end {what}", models, {s: measure(s) for s in sides(with_original)})


def executable(bench: Bench, evaluations: int, batches: int) -> None:
    """`tobiko-facade mirror` alone, its messages through a pipe: two audits for each evaluation."""
    models = evaluations // batches
    with bench.cloud(models, batches) as served, tempfile.TemporaryDirectory(prefix="facade-bench-") as folder:

        def once() -> tuple[dict[str, Any], dict[str, int]]:
            before = served.asked()
            run = channel.mirror(bench.executable, served, RUN, Path(folder))
            after = served.asked()
            used = run.measured
            return {
                "wall_s": used.wall_s,
                "cpu_s": used.cpu_s,
                "memory_mb": used.own_mb,
                "processes": used.processes,
                "requests": after.requests - before.requests,
                "received_kb": after.received_kb - before.received_kb,
                "first message s": run.first_message_s,
                "messages": run.messages,
            }, {}

        named = f"executable alone, {batches} evaluations a model" if batches > 1 else "executable alone"
        bench.in_turns(named, models, {OURS: once})


def recorder(bench: Bench, models: int, sqlmesh_python: Path) -> None:
    """`sqlmesh run` as it is, with the recorder, and with the recorder while nobody listens where the server should be.
    `more CPU`: than SQLMesh alone took in the same turn."""
    alone_s: list[float] = []
    with planned(sqlmesh_python, bench.executable, models) as project:

        def measure(side: str) -> Measure:
            def once() -> tuple[dict[str, Any], dict[str, int]]:
                used = project.run(side)
                found = {"wall_s": used.wall_s, "cpu_s": used.cpu_s, "memory_mb": used.memory_mb}
                if side == ALONE:
                    alone_s.append(used.cpu_s)
                    return found, {}
                more_s = used.cpu_s - alone_s[-1]
                return {**found, "more CPU s": more_s, "share %": 100 * more_s / alone_s[-1]}, {}

            return once

        sides = {side: measure(side) for side in (ALONE, RECORDED, AWAY)}
        bench.in_turns("a run of SQLMesh, recorded", models, sides, least=bench.repeat)


def size(bench: Bench) -> None:
    megabytes = Path(bench.executable).stat().st_size / 1e6
    bench.rows.add("executable on disk", 0, OURS, {"MB": megabytes}, {})


def sides(with_original: bool, floor: bool = False) -> list[str]:
    """This project first: the floor writes what was recorded of it."""
    return [OURS, *([FLOOR] if floor else []), *([ORIGINAL] if with_original else [])]


def job(side: str, *command: str) -> tuple[str, ...]:
    return ("floor",) if side == FLOOR else command


def numbers(outcome: Outcome) -> dict[str, Any]:
    used, asked = outcome.measured, outcome.asked
    return {
        "wall_s": used.wall_s,
        "cpu_s": used.cpu_s,
        "memory_mb": used.memory_mb,
        "processes": used.processes,
        "requests": asked.requests,
        "received_kb": asked.received_kb,
        "connections": outcome.traffic.connections or None,
        "statements": outcome.traffic.statements or None,
    }


def written(place: Home, outcome: Outcome) -> dict[str, int]:
    """Events by type: of the run, and of no run."""
    of_run, of_no_run = (place.do("events", run_id)["events"] for run_id in (outcome.answer["run_id"], OF_NO_RUN))
    return dict(Counter(of_run) + Counter(of_no_run))


@contextmanager
def recording() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="facade-bench-") as folder:
        yield str(Path(folder) / "recording.pickle")


def start(served: Cloud, wave: bool) -> str:
    """A run that goes on: its tasks end one after the other, upstream first, or all in one moment."""
    nodes = [node["name"] for node in served.state(run_id="none")["environments"]["prod"]["nodes"]]
    ends = {name: HEAD_START_S + (0 if wave else at / ENDS_A_SECOND) for at, name in enumerate(nodes)}
    outcomes = {name: {"start_s": end - 1, "task_s": 1, "despite_upstream": True} for name, end in ends.items()}
    return served.run(nodes=outcomes, lanes=len(nodes))


def delays_of(served: Cloud, run_id: str, step_ends: dict[str, float]) -> dict[str, float]:
    """By node."""
    ended = ends_of(served, run_id)
    return {name: step_ends[step_of(name)] - end for name, end in ended.items()}


def ends_of(served: Cloud, run_id: str) -> dict[str, float]:
    evaluations = served.truth(run_id)["evaluations"]
    return {told["node_name"]: time_of(told["end_at"]) for told in evaluations}


def step_of(node: str) -> str:
    return node.replace('"', "").replace(".", "_")


def time_of(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def beyond_floor(
    served: Cloud, run_id: str, delays: dict[str, float], stderr: str, floor_s_a_task: float
) -> dict[str, float]:
    """`stderr` tells when the executable looked, and how long it waited then."""
    lines = re.findall(r"(\S+Z) +DEBUG tobiko_facade::commands::mirror: polled .*next poll in (\d+\.\d+) s", stderr)
    looks = [(time_of(at), float(interval)) for at, interval in lines]
    in_look: dict[float, int] = {}
    beyond, intervals = [], []
    for name, end in sorted(ends_of(served, run_id).items(), key=lambda told: told[1]):
        seen_at = next((at for at, _ in looks if at >= end), 0.0)
        in_look[seen_at] = in_look.get(seen_at, 0) + 1
        beyond.append(delays[name] - in_look[seen_at] * floor_s_a_task)
        intervals += [interval for at, interval in looks if at < end][-1:]
    return {
        **spread("beyond the floor", beyond),
        "interval s": median(intervals) if intervals else 0.0,
        "floor s a task": floor_s_a_task,
    }


def spread(name: str, values: list[float]) -> dict[str, float]:
    return {f"{name} median s": median(values), f"{name} p99 s": quantiles(values, n=100, method="inclusive")[98]}
