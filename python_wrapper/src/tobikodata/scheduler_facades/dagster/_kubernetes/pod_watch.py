"""Decides, from one look at a pod's state to the next, how its job goes on. Pure: no call and no clock here."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .pod_state import DELETED, PodState

# How long a container may be unable to start for a reason that may pass: an image that is just being pushed.
STUCK_LIMIT_S = 30.0
MAX_POLL_INTERVAL_BEFORE_START_S = 5.0
ENDING_POLL_INTERVAL_S = 0.5
# How long a pod that is being deleted, or was created and is not listed yet, is waited for.
DELETION_LIMIT_S = 20.0


@dataclass(frozen=True)
class Step:
    """What follows from one state.

    The watch goes on after `next_poll_s` unless `ended` (the container exited by itself, with `exit_code`) or `failure`
    is set. `with_events`: the pod's events say more about the failure.
    """

    watch: PodWatch
    next_poll_s: float = 0.0
    follow_log: bool = False
    warning: str | None = None
    ended: bool = False
    exit_code: int | None = None
    failure: str | None = None
    with_events: bool = False


@dataclass(frozen=True)
class PodWatch:
    """What has been seen of one pod so far. Times in seconds, of any one clock."""

    created_at: float
    start_limit_s: float
    poll_interval_s: float
    seen: bool = False
    stuck_since: float | None = None
    # Why Kubernetes ends the pod, and since when that is known.
    cause: str | None = None
    cause_since: float = 0.0
    warned_of: frozenset[str] = field(default_factory=frozenset)

    def step(self, state: PodState | None, now: float) -> Step:
        """The next step, given the pod's state; None: the pod is not listed."""
        if state is None and (self.seen or now - self.created_at > DELETION_LIMIT_S):
            return Step(self, failure=self.cause or DELETED)
        watch = self._updated(state, now)
        state = state or PodState()
        follow_log = state.started or state.over
        if state.over or (watch.cause and now - watch.cause_since > DELETION_LIMIT_S):
            if watch.cause:
                return Step(watch, follow_log=follow_log, failure=watch.cause)
            return Step(watch, follow_log=follow_log, ended=True, exit_code=state.exit_code)
        if state.started:
            return Step(watch, watch._next_poll_s(started=True), follow_log)
        return watch._before_start(state, now)

    def _updated(self, state: PodState | None, now: float) -> PodWatch:
        if state is None:
            return replace(self, stuck_since=None)
        is_first_cause = state.cause is not None and self.cause is None
        return replace(
            self,
            seen=True,
            stuck_since=(self.stuck_since or now) if state.is_stuck else None,
            cause=state.cause if is_first_cause else self.cause,
            cause_since=now if is_first_cause else self.cause_since,
        )

    def _before_start(self, state: PodState, now: float) -> Step:
        waits_for = state.waits_for or "its container is being created"
        is_stuck = self.stuck_since is not None and now - self.stuck_since >= STUCK_LIMIT_S
        if state.is_hopeless or is_stuck:
            return Step(self, failure=f"the pod cannot start: {waits_for}", with_events=True)
        if now - self.created_at > self.start_limit_s:
            failure = f"the pod has not started within {self.start_limit_s:.0f} s: {waits_for}"
            return Step(self, failure=failure, with_events=True)
        is_new = state.waits_for is not None and state.waits_for not in self.warned_of
        watch = replace(self, warned_of=self.warned_of | {waits_for}) if is_new else self
        return Step(watch, watch._next_poll_s(started=False), warning=waits_for if is_new else None)

    def _next_poll_s(self, *, started: bool) -> float:
        if self.cause:
            return min(self.poll_interval_s, ENDING_POLL_INTERVAL_S)
        return self.poll_interval_s if started else min(self.poll_interval_s, MAX_POLL_INTERVAL_BEFORE_START_S)
