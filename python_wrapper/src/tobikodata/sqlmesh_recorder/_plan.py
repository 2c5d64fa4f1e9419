"""One plan while SQLMesh's plan evaluator carries it out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._environment import environment_fields
from ._recording import Recording
from ._version import deployability_of


@dataclass(frozen=True)
class Plan:
    recording: Recording
    plan: Any
    evaluator: Any

    def known_as(self, name: str) -> tuple[str, str | None]:
        """A node's name as the user wrote it (as far as it is known here), and its version."""
        versions = (s.version for s in self.plan.environment.snapshots if s.name == name)
        return name, next((str(version) for version in versions if version), None)

    def tell_environment(self) -> None:
        """The DAG that the plan has made, from the state that this process has at hand anyway."""
        state = self.evaluator.state_sync
        environment = state.get_environment(self.recording.environment)
        if environment is not None and environment.finalized_ts:
            snapshots = state.get_snapshots(environment.snapshots)
            index = deployability_of(environment, snapshots)
            self.recording.put_environment(environment_fields(environment, snapshots.values(), index))
