"""Waits for facts: no test sleeps and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(
    fact: Callable[[], Any],
    limit_s: float = 60.0,
    what: str = "it",
    details: Callable[[], str] = str,
    pause_s: float = 0.02,
) -> Any:
    """Waits for a fact to be true, and returns it. `details`: what is shown beside `what` if it never is."""
    deadline = time.monotonic() + limit_s
    while True:
        found = fact()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {limit_s:.0f} s\n{details()}".rstrip())
        time.sleep(pause_s)
