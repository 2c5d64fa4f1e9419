"""The errors that a user sees: one sentence that names the thing and says what to do."""

from __future__ import annotations


class TobikoFacadeError(Exception):
    """An error that is shown to a person.

    Args:
        sentence: What went wrong, and what to do about it.
        outage: Whether it passes by itself, so that the last good answer may serve until then.
    """

    def __init__(self, sentence: str, outage: bool = False) -> None:
        super().__init__(sentence)
        self.outage = outage


class RemoteRunFailed(TobikoFacadeError):
    """The remote run failed although every task that this job knows succeeded or was skipped."""


class MirrorBroken(TobikoFacadeError):
    """Not everything that happened remotely was reported: the Dagster run must not look complete."""
