"""`make bench`: this project beside the original and beside the floor, in one run on one machine.

All sides ask the same scripted local cloud over loopback, under the same Dagster, with the same storage. The floor is
Dagster writing the same events with nothing else: for a mirror, a job of as many steps under Dagster's own in-process
executor; for a sync, one op. How time, memory and processes are measured: tree.py. Progress is on stderr; the table and
the raw numbers are in the folder --out, written anew after each measurement; summary.md there is the README's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import figures
from figures import Bench
from rows import Rows
from side import Side
from storages import storages
from summary import summary

FIGURES = ("size", "load", "mirror_finished", "sync", "tick", "mirror_live", "executable", "recorder")
# Those that write to Dagster's storage: measured for each of its distances.
STORED = ("mirror_finished", "sync")
RECORDED_MODELS = 100
# The original takes about two seconds a task, one after the other.
MOST_FOR_THE_ORIGINALS_MIRROR = 30


def main() -> None:
    given = arguments()
    ours = Side(figures.OURS, Path(sys.executable))
    original = Side(figures.ORIGINAL, given.original_python)
    with storages(given.storage, given.rtt_ms) as all_storages:
        rows = Rows(given.out, about(given))
        for storage in all_storages:
            bench = Bench(ours, original, str(given.executable), rows, given.repeat, given.budget, storage)
            figures.warm_up(bench, not given.without_original)
            for name in given.only:
                if storage is all_storages[0] or name in STORED:
                    measure(name, bench, given)
                    (given.out / "summary.md").write_text(summary(rows) + "\n")
    print(rows.markdown(), summary(rows), sep="\n")


def measure(name: str, bench: Bench, given: argparse.Namespace) -> None:
    most = 100 if given.original_100 else MOST_FOR_THE_ORIGINALS_MIRROR
    with_original = not given.without_original
    if name == "size":
        figures.size(bench)
    elif name == "executable":
        for evaluations, batches in ((1_000, 1), (10_000, 1), (10_000, 10), (100_000, 10)):
            figures.executable(bench, evaluations, batches)
    elif name == "recorder":
        figures.recorder(bench, RECORDED_MODELS, given.sqlmesh_python)
    elif name == "mirror_live":
        figures.mirror_live(bench, 30, with_original)
        figures.mirror_live(bench, 30, with_original=False, wave=True)
        if max(given.sizes) >= 100:
            figures.mirror_live(bench, 300, with_original=False)
    else:
        for models in given.sizes:
            is_mirror = name == "mirror_finished"
            getattr(figures, name)(bench, models, with_original and (models <= most or not is_mirror))
            if is_mirror and models == 10:
                figures.mirror_finished(bench, 30, with_original)


def about(given: argparse.Namespace) -> dict[str, str]:
    ask = "import dagster, json; print(json.dumps(dagster.__version__))"
    versions = [
        json.loads(subprocess.run([python, "-c", ask], capture_output=True, check=True).stdout)
        for python in (sys.executable, str(given.original_python))
    ]
    if len(set(versions)) != 1:
        raise SystemExit(f"the two sides have different Dagsters: {versions}")
    described = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in described if line.startswith("model name")), "?")
    return {
        "Dagster": versions[0],
        "Python": platform.python_version(),
        "storage": given.storage,
        "cores": f"{len(os.sched_getaffinity(0))} ({cpu})",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--original-python", type=Path, required=True, help="of an environment with the original")
    parser.add_argument(
        "--sqlmesh-python", type=Path, help="of an environment with SQLMesh and this package: for recorder"
    )
    parser.add_argument("--executable", type=Path, default=Path(sys.executable).parent / "tobiko-facade")
    parser.add_argument("--only", type=names, default=list(FIGURES), help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--sizes", type=sizes, default=[10, 100, 1000], help="models, e.g. 10,100,1000")
    parser.add_argument("--repeat", type=int, default=3, help="how often each is measured at most")
    parser.add_argument("--budget", type=float, default=45, help="seconds; a side that took longer is not repeated")
    parser.add_argument("--original-100", action="store_true", help="the original's mirror of 100 tasks too: minutes")
    parser.add_argument("--without-original", action="store_true")
    parser.add_argument("--storage", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--rtt-ms", type=distances, default=[0.0], help="round trips to PostgreSQL, e.g. 0,1,5")
    parser.add_argument("--out", type=Path, default=Path("target/bench"))
    given = parser.parse_args()
    if "recorder" in given.only and given.sqlmesh_python is None:
        parser.error("recorder needs --sqlmesh-python")
    return given


def names(text: str) -> list[str]:
    given = [name.strip() for name in text.split(",")]
    for name in given:
        if name not in FIGURES:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(FIGURES)}")
    return given


def distances(text: str) -> list[float]:
    return [float(rtt_ms) for rtt_ms in text.split(",")]


def sizes(text: str) -> list[int]:
    return [int(size) for size in text.split(",")]


if __name__ == "__main__":
    main()
