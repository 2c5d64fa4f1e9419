"""How the watch over a pod decides, from one state to the next."""

from __future__ import annotations

from typing import Any

import pytest

from tobikodata.scheduler_facades.dagster._kubernetes.pod_state import DELETED, PodState
from tobikodata.scheduler_facades.dagster._kubernetes.pod_watch import DELETION_LIMIT_S, STUCK_LIMIT_S, PodWatch, Step

pytestmark = pytest.mark.fast

STUCK = PodState(waits_for="no image", is_stuck=True)
RUNNING = PodState(started=True)


def last_step(*states: tuple[float, PodState | None], **options: Any) -> Step:
    """The step after the last of (seconds since the creation, state); those before it let the watch go on."""
    watch = PodWatch(**{"created_at": 0.0, "start_limit_s": 600.0, "poll_interval_s": 10.0, **options})
    *earlier, (last_at, last) = states
    for now, state in earlier:
        step = watch.step(state, now)
        assert not step.ended
        assert step.failure is None
        watch = step.watch
    return watch.step(last, last_at)


def test_a_container_that_exits_ends_the_watch_with_its_code() -> None:
    step = last_step((1, PodState()), (2, RUNNING), (3, PodState(started=True, over=True, exit_code=7)))
    assert (step.ended, step.exit_code, step.failure) == (True, 7, None)


def test_the_log_is_followed_once_the_container_has_started() -> None:
    assert not last_step((1, PodState())).follow_log
    assert last_step((1, RUNNING)).follow_log
    assert last_step((1, PodState(over=True, cause="evicted"))).follow_log


@pytest.mark.parametrize(
    ("states", "next_poll_s"),
    [
        ([(1, PodState())], 5.0),
        ([(1, RUNNING)], 10.0),
        ([(1, PodState(started=True, cause="evicted"))], 0.5),
        ([(1, PodState(started=True, cause="evicted")), (2, RUNNING)], 0.5),
    ],
)
def test_polls_are_frequent_where_something_is_about_to_happen(states: Any, next_poll_s: float) -> None:
    assert last_step(*states).next_poll_s == next_poll_s
    assert last_step(*states, poll_interval_s=0.1).next_poll_s == 0.1


def test_a_stuck_container_fails_after_its_limit() -> None:
    step = last_step((1, STUCK), (STUCK_LIMIT_S, STUCK), (1 + STUCK_LIMIT_S, STUCK))
    assert step.failure == "the pod cannot start: no image"
    assert step.with_events


def test_a_container_that_recovers_gets_the_whole_limit_again() -> None:
    last_step((1, STUCK), (25, PodState()), (26, STUCK), (50, STUCK), (55, RUNNING))


def test_a_hopeless_container_fails_at_once() -> None:
    assert last_step((1, PodState(waits_for="bad name", is_hopeless=True))).failure == "the pod cannot start: bad name"


def test_a_pod_that_does_not_start_in_time_fails() -> None:
    step = last_step((1, PodState()), (61, PodState(waits_for="no node")), start_limit_s=60.0)
    assert step.failure == "the pod has not started within 60 s: no node"


def test_each_reason_to_wait_is_logged_once() -> None:
    first = last_step((1, STUCK))
    assert first.warning == "no image"
    assert first.watch.step(STUCK, 2).warning is None
    assert first.watch.step(PodState(waits_for="no node"), 2).warning == "no node"
    assert last_step((1, PodState())).warning is None


def test_a_pod_that_disappears_was_deleted() -> None:
    assert last_step((1, RUNNING), (2, None)).failure == DELETED
    evicted = PodState(started=True, cause="evicted")
    assert last_step((1, evicted), (2, None)).failure == "evicted"


def test_a_new_pod_may_take_a_moment_to_be_listed() -> None:
    assert last_step((1, None), (DELETION_LIMIT_S + 1, None)).failure == DELETED


def test_the_first_cause_counts_and_a_lingering_pod_is_not_waited_for() -> None:
    evicted = PodState(started=True, cause="evicted")
    deleted = PodState(started=True, cause=DELETED)
    assert last_step((1, evicted), (2, deleted), (22, deleted)).failure == "evicted"
    assert last_step((1, deleted), (2, PodState(over=True, exit_code=0))).failure == DELETED
