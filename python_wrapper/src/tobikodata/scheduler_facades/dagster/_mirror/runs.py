"""Which remote run a Dagster run is the mirror of."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from .._environment import RUN_ID_TAG, RUN_KEY_TAG


def run_key(run_id: str, attempt: int) -> str:
    """The sensor's run key: the remote run id; a relaunch gets a suffix."""
    return run_id if attempt <= 1 else f"{run_id}#{attempt}"


def run_id_of(key: str | None) -> str | None:
    """The remote run id in a run key."""
    head, mark, attempt = (key or "").rpartition("#")
    return head if mark and attempt.isdigit() else key


def which_run(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """The executable's arguments: the remote run of this Dagster run.

    From run config or tags; a re-execution follows its root run. Launched by hand without any of these: the newest
    remote run at the time when the Dagster run was created, so that all steps agree, whatever process they run in.
    """
    # Read again: the tag may have been put on the run after this process got its copy.
    run = instance.get_run_by_id(run.run_id) or run
    root = instance.get_run_by_id(run.root_run_id) if run.root_run_id else None
    for candidate in (run, root):
        run_id = _named_in(candidate) if candidate else None
        if run_id:
            return [f"--run-id={run_id}"]
    record = instance.get_run_record_by_id((root or run).run_id)
    return [f"--newest-before={_end_of(record.create_timestamp):.3f}"] if record else []


def _end_of(moment: datetime) -> float:
    """SQLite keeps whole seconds: a remote run that started within that second counts."""
    return moment.timestamp() + (0 if moment.microsecond else 1)


def note_remote_run(instance: dg.DagsterInstance, run: dg.DagsterRun, run_id: str) -> None:
    """Tags the Dagster run with the remote run that it mirrors."""
    if run.tags.get(RUN_ID_TAG) != run_id:
        instance.add_run_tags(run.run_id, {RUN_ID_TAG: run_id})


def _named_in(run: dg.DagsterRun) -> str | None:
    return _configured(run.run_config) or run.tags.get(RUN_ID_TAG) or run_id_of(run.tags.get(RUN_KEY_TAG))


def _configured(run_config: Mapping[str, Any]) -> str | None:
    run_id = run_config.get("run_id") if isinstance(run_config, Mapping) else None
    return run_id.strip() if isinstance(run_id, str) and run_id.strip() else None
