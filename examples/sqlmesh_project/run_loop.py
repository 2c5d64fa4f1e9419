"""Runs the project again and again, recorded, and prints a line for each run: a scheduler to look at.

Five minutes of the project's time pass between two runs. While that time lies in the past (see the first
plan in README.md) only a pause of some seconds lies between them; once it has reached the present, the clock
decides.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sqlmesh import Context
from sqlmesh.core.console import NoopConsole, set_console

from tobikodata import sqlmesh_recorder

PROJECT = Path(__file__).resolve().parent
STEP = timedelta(minutes=5)  # the cron of all models but one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="prod")
    parser.add_argument("--pause", type=float, default=10.0, metavar="SECONDS", help="between two runs (10)")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="end after so many (0: never)")
    parser.add_argument("--fail-every", type=int, default=0, metavar="N", help="break each Nth run (0: none)")
    options = parser.parse_args()

    set_console(NoopConsole())
    logging.getLogger("sqlmesh").addHandler(logging.NullHandler())  # its warnings would break up the lines
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sqlmesh_recorder.install()
    if not os.environ.get("TCLOUD_BASE_URL"):
        say("TCLOUD_BASE_URL is not set: the runs are not recorded")
    state_given = os.environ.get("COFFEE_MACHINE", "")
    count = 0
    try:
        while True:
            is_to_fail = options.fail_every > 0 and (count + 1) % options.fail_every == 0
            os.environ["COFFEE_MACHINE"] = "broken" if is_to_fail else machine_state(state_given)
            due = run_next(options.environment)
            if due is None:
                count += 1
            if 0 < options.runs <= count:
                return 0
            time.sleep(max(options.pause, due.timestamp() - time.time() if due else 0.0))
    except KeyboardInterrupt:
        say("ended")
        return 0


def run_next(environment: str) -> datetime | None:
    """Runs the next five minutes, or answers when they will be over."""
    began = time.monotonic()
    context = None
    try:
        # A context for each run, closed again: DuckDB lets one process in at a time, and somebody may want to
        # plan a change between two runs.
        context = Context(paths=[str(PROJECT)], load=False)
        until = done_until(context, environment) + STEP
        if until > datetime.now(timezone.utc):
            return until
        status = context.run(environment, end=until, execution_time=until, skip_janitor=True)
    except Exception as error:
        say(f"could not run: {(str(error).strip() or repr(error)).splitlines()[0]}")
        return None
    finally:
        if context is not None:
            context.close()
    outcome = status.name.lower().replace("_", " ")
    say(f"project time {until:%Y-%m-%d %H:%M} UTC  {outcome:<13} {time.monotonic() - began:5.1f} s")
    return None


def done_until(context: Context, environment: str) -> datetime:
    """The end of the newest interval that SQLMesh has filled in any table of the environment."""
    state = context.state_sync.get_environment(environment)
    if state is None:
        sys.exit(f"error: there is no environment {environment!r} yet: plan first, as README.md says")
    snapshots = context.state_sync.get_snapshots(state.snapshots).values()
    newest = max(snapshot.intervals[-1][1] for snapshot in snapshots if snapshot.intervals)
    return datetime.fromtimestamp(newest / 1000, timezone.utc)


def machine_state(default: str) -> str:
    """What `machine.txt` says (`broken` or `cold`): a way to break a run from another terminal."""
    try:
        return (PROJECT / "machine.txt").read_text().strip()
    except OSError:
        return default


def say(text: str) -> None:
    print(f"{datetime.now():%H:%M:%S}  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
