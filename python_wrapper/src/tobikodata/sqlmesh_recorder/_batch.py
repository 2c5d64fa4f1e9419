"""What one evaluation works on: a snapshot and an interval of it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

from ._times import instant, milliseconds


@dataclass(frozen=True)
class Batch:
    snapshot: Any
    version: str
    start: Any
    end: Any
    number: int = 1  # among the batches of its node, known when it starts
    evaluation_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def key(self) -> tuple[str, Any, Any]:
        """The same when it is scheduled and when it starts."""
        return (self.snapshot.name, milliseconds(self.start), milliseconds(self.end))

    def interval(self) -> dict[str, str | None]:
        return {"interval_start": instant(self.start), "interval_end": instant(self.end)}

    def fields(self) -> dict[str, Any]:
        return {"node_name": self.snapshot.name, "version": self.version, **self.interval()}
