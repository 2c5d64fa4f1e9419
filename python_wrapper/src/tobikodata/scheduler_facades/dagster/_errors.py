"""The errors that a user sees: one sentence that names the thing and says what to do."""

from __future__ import annotations


class TobikoFacadeError(Exception):
    """Something that a person must know of. `outage`: it passes by itself; the last good answer may serve."""

    def __init__(self, sentence: str, outage: bool = False) -> None:
        super().__init__(sentence)
        self.outage = outage


class RemoteRunFailed(TobikoFacadeError):
    """The remote run ended badly although each task that Dagster knows went well."""


class MirrorBroken(TobikoFacadeError):
    """Not everything that happened remotely could be told: the run must not look complete."""
