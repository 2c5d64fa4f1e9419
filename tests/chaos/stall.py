"""Notices that nothing moves any more, and says what is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


class Stalled(Exception):
    """Nothing has moved for too long."""


class StallWatch:
    """`state`: what changes when something moves. It is looked at every few seconds only: that costs queries."""

    def __init__(
        self,
        state: Callable[[], Any],
        waits_for: Callable[[], str],
        limit_s: float,
        clock: Callable[[], float] = time.monotonic,
        look_every_s: float = 5.0,
    ) -> None:
        self._state = state
        self._waits_for = waits_for
        self._limit_s = limit_s
        self._clock = clock
        self._look_every_s = look_every_s
        self._last: Any = None
        self._moved_at = self._looked_at = clock()

    def look(self, what: str) -> None:
        """`what` is waited for just now. Raises when nothing has moved since the limit."""
        now = self._clock()
        if now - self._looked_at < self._look_every_s:
            return
        self._looked_at = now
        state = self._state()
        if state != self._last:
            self._last, self._moved_at = state, now
        elif now - self._moved_at >= self._limit_s:
            raise Stalled(
                f"nothing has moved for {now - self._moved_at:.0f} s; waiting for {what}\n{self._waits_for()}"
            )

    def wait_for(self, what: str, fact: Callable[[], Any], pause_s: float = 0.5) -> Any:
        """As long as something moves."""
        self._moved_at = self._looked_at = self._clock()
        while not (found := fact()):
            self.look(what)
            time.sleep(pause_s)
        return found
