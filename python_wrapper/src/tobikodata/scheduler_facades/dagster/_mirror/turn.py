"""When a mirror's turn has come.

The sensor requests the mirrors of several remote runs at once, where it has to catch up. They are launched at the same
time, and load their code side by side; then each waits here for those of older remote runs, before it writes anything.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from .._environment import MIRROR_COMPLETE, MIRROR_TAG, REPOSITORY_LABEL_TAG, RUN_KEY_TAG
from .._errors import MirrorBroken
from .heartbeat import WAKE_S, is_silent
from .runs import run_id_of

# The run keys of the mirrors that have to end before, as a JSON list. Dagster's pages hide tags with this prefix.
AFTER_TAG = ".dagster/tobiko_after"
# Beside it: whether they were complete does not matter, since none of them is relaunched any more.
AFTER_ANY_END_TAG = ".dagster/tobiko_after_any_end"
POLL_S = 1.0
# A mirror that is not there by then was deleted.
ABSENT_LIMIT_S = 10.0
# One that nobody has launched by then is in the queue behind this one, and waits for its slot.
QUEUED_LIMIT_S = 60.0
# Whoever ended so long before this run was made was not requested together with it: somebody copied its tags.
_LONG_BEFORE_S = 600.0

_NOT_LAUNCHED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED)


def wait_for_turn(
    instance: dg.DagsterInstance, run: dg.DagsterRun, log: Any, *, after_any_end: bool = False
) -> Iterator[None]:
    """Yields every second, until all mirrors that come before this one have ended.

    Args:
        instance: Where they are looked up.
        run: The mirror that waits.
        log: Of its Dagster run.
        after_any_end: Whether it begins even if one of them stopped before completion.

    Raises:
        MirrorBroken: One of them did. The sensor relaunches all that did, in order.
    """
    keys = _before(run)
    any_end = after_any_end or AFTER_ANY_END_TAG in run.tags
    is_waiting = False
    for key in keys:
        for _ in _wait_for(instance, run, key, log, any_end):
            if not is_waiting:
                log.info(f"Waiting for the mirrors of older remote runs: {', '.join(map(str, map(run_id_of, keys)))}")
                is_waiting = True
            yield
            time.sleep(POLL_S)


def _before(run: dg.DagsterRun) -> list[str]:
    """The run keys; none for a run that a person has launched again: Dagster copies the tags."""
    if run.parent_run_id or run.root_run_id or AFTER_TAG not in run.tags:
        return []
    return [str(key) for key in json.loads(run.tags[AFTER_TAG])]


def _wait_for(instance: dg.DagsterInstance, run: dg.DagsterRun, key: str, log: Any, any_end: bool) -> Iterator[None]:
    other = f"the mirror of remote run {run_id_of(key)}"
    # When it was last seen to be executed, and to send heartbeats.
    executed_at = alive_at = time.monotonic()
    while True:
        now = time.monotonic()
        records = _records(instance, run, key)
        going_on = [record for record in records if not record.dagster_run.is_finished]
        launched = [record for record in going_on if record.dagster_run.status not in _NOT_LAUNCHED]
        if launched:
            executed_at = now
            alive_at = alive_at if all(map(is_silent, launched)) else now
        is_dead = now - alive_at > WAKE_S if launched else not going_on and _died(instance, run, records)
        if is_dead and not any_end:
            raise MirrorBroken(
                f"{other}, which comes before this one, stopped before completion: nothing is written here, and the "
                "sensor relaunches both, in order"
            )
        if is_dead or (records and not going_on):
            return
        if not records and now - executed_at > ABSENT_LIMIT_S:
            log.warning(f"{other} was deleted: this one does not wait for it")
            return
        if now - executed_at > QUEUED_LIMIT_S:
            log.warning(
                f"{other} has not been launched for {QUEUED_LIMIT_S:.0f} s: it may be behind this one in the run "
                "queue, which does not wait for it any longer"
            )
            return
        yield


def _records(instance: dg.DagsterInstance, run: dg.DagsterRun, key: str) -> Sequence[dg.RunRecord]:
    """The runs with this key, newest first, of the code location of `run`."""
    label = run.tags.get(REPOSITORY_LABEL_TAG)
    tags = {RUN_KEY_TAG: key, **({REPOSITORY_LABEL_TAG: label} if label else {})}
    return instance.get_run_records(dg.RunsFilter(job_name=run.job_name, tags=tags))


def _died(instance: dg.DagsterInstance, run: dg.DagsterRun, records: Sequence[dg.RunRecord]) -> bool:
    """Whether the newest stopped before completion, and no person stopped it: then the sensor relaunches it."""
    newest = next(iter(records), None)
    if newest is None or newest.dagster_run.status != dg.DagsterRunStatus.FAILURE:
        return False
    if newest.dagster_run.tags.get(MIRROR_TAG) == MIRROR_COMPLETE:
        return False
    own = instance.get_run_record_by_id(run.run_id)
    created_at = own.create_timestamp.timestamp() if own else time.time()
    return newest.end_time is None or created_at - newest.end_time < _LONG_BEFORE_S
