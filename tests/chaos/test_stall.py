"""The watch that ends a chaos in which nothing moves."""

from __future__ import annotations

import pytest
from stall import Stalled, StallWatch

pytestmark = pytest.mark.fast


def test_nothing_that_moves_ends_it_and_says_what_is_waited_for() -> None:
    now, state = [0.0], [0]
    watch = StallWatch(
        lambda: state[0], lambda: "run-7 is not mirrored", limit_s=300, clock=lambda: now[0], look_every_s=0
    )

    def look_at(second: float) -> None:
        now[0] = second
        watch.look("the last mirror")

    look_at(10)
    look_at(309)
    state[0] = 1  # moves at the last moment
    look_at(310)
    look_at(600)
    with pytest.raises(Stalled, match="for 300 s; waiting for the last mirror\nrun-7 is not mirrored"):
        look_at(610)
