"""One call of run_merged_intervals: a run has one, or more if a plan disturbs it; a plan has one or two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._environment import environment_fields
from ._recording import Recording
from ._version import version_of


@dataclass(frozen=True)
class Pass:
    recording: Recording
    scheduler: Any
    deployability: Any
    audit_only: bool

    def version(self, snapshot: Any) -> str:
        return version_of(snapshot, self.deployability)

    def known_as(self, name: str) -> tuple[str, str | None]:
        """A node's name as the user wrote it, and its version."""
        for snapshot in self.scheduler.snapshots.values():
            if snapshot.name == name:
                return snapshot.node.name, self.version(snapshot)
        return name, None

    def tell_environment(self) -> None:
        """The DAG at the start of a run: the scheduler holds the environment's snapshots already."""
        environment = self.scheduler.state_sync.get_environment(self.recording.environment)
        if environment is not None and environment.finalized_ts:
            snapshots = self.scheduler.snapshots.values()
            self.recording.put_environment(environment_fields(environment, snapshots, self.deployability))
