"""One evaluation: a batch of a node's intervals, and the audits that have run on it."""

from __future__ import annotations

import importlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from ._delivery import Later
from ._formatting import (
    MESSAGE_CHARACTERS,
    arguments_text,
    milliseconds,
    now,
    timestamp,
    traceback_of,
    truncate_middle,
)
from ._guard import safely


@dataclass(frozen=True)
class Batch:
    """What an evaluation works on: a snapshot and an interval of it."""

    snapshot: Any
    version: str
    start: Any
    end: Any
    number: int = 1  # among the batches of its node; known once it starts
    evaluation_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @cached_property
    def key(self) -> tuple[str, Any, Any]:
        """Identifies the batch both when it is scheduled and when it starts."""
        return (self.snapshot.name, milliseconds(self.start), milliseconds(self.end))

    @cached_property
    def interval(self) -> Mapping[str, str | None]:
        return {"interval_start": timestamp(self.start), "interval_end": timestamp(self.end)}

    def fields(self) -> dict[str, Any]:
        return {"node_name": self.snapshot.name, "version": self.version, **self.interval}


@dataclass(frozen=True)
class AuditCall:
    """What the call of one audit shows, and its result does not: 0.142's has no arguments."""

    arguments: str | None
    duration_s: float


@dataclass(frozen=True)
class Audit:
    """The result of one audit."""

    result: Any
    name: str
    arguments: str | None
    count: int | None  # the rows that violate the audit
    blocking: bool
    duration_s: float | None

    @classmethod
    def of(cls, result: Any, call: AuditCall | None) -> Audit:
        arguments = call.arguments if call else safely(arguments_text, getattr(result, "audit_args", None))
        duration_s = call.duration_s if call else None
        return cls(result, result.audit.name, arguments, result.count, bool(result.blocking), duration_s)

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "args": self.arguments,
            "status": "failed" if self.count else "success",
            "blocking": self.blocking,
            "count": self.count,
            "execution_time": now(),
            "log": Later(partial(_query, getattr(self.result, "query", None))),
            "duration_seconds": self.duration_s,
        }

    def rows(self) -> str:
        return f"{self.count} {'row' if self.count == 1 else 'rows'}"

    def summary(self) -> str:
        if not self.count:
            return f"{self.name} passed"
        return f"{self.name} failed ({self.rows()}, {'blocking' if self.blocking else 'a warning'})"


class Evaluation:
    """A batch that is being evaluated.

    `tracker` is SQLMesh's row counter, where this version has one. `only_audits`: no data is loaded.
    `ends_with_audits`: SQLMesh calls nothing but the audits, and raises after they have returned.
    """

    def __init__(
        self, batch: Batch, tracker: Any = None, only_audits: bool = False, ends_with_audits: bool = False
    ) -> None:
        self.batch = batch
        self.only_audits = only_audits
        self.ends_with_audits = ends_with_audits
        self._tracker = tracker
        self._started_s = time.monotonic()
        self._audits: list[Audit] = []

    def add_audit(self, result: Any, call: AuditCall | None = None) -> dict[str, Any] | None:
        """Returns the audit event's fields, or None if the audit was skipped or is known already."""
        if result.skipped or any(result is audit.result for audit in self._audits):
            return None
        audit = Audit.of(result, call)
        self._audits.append(audit)
        return {"evaluation_id": self.batch.evaluation_id, **audit.fields(), **self.batch.interval}

    def failed_by_audits(self) -> str | None:
        """The message for failed audits that end the evaluation."""
        failed = [audit for audit in self._audits if audit.count and audit.blocking]
        if not self.ends_with_audits or not failed:
            return None
        return "; ".join(f"audit {audit.name} failed: {audit.rows()}" for audit in failed)

    def log_text(self, error: BaseException | None, rows: int | None) -> str:
        lines = [f"{self.batch.snapshot.node.name}, version {self.batch.version}"]
        if self.only_audits:
            lines.append("only audits ran, no data was loaded")
        start, end = self.batch.interval.values()
        if start and end:
            lines.append(f"batch {self.batch.number}: {start} to {end} (exclusive)")
        duration = f"{'finished' if error is None else 'failed'} after {time.monotonic() - self._started_s:.2f} s"
        lines.append(f"{duration}, {rows} rows" if rows else duration)
        if self._audits:
            lines.append("audits: " + "; ".join(audit.summary() for audit in self._audits))
        if error is not None:
            lines += ["", traceback_of(error)]
        return "\n".join(lines)

    def rows_processed(self) -> int | None:
        """As the engine counts them; None where it does not, or SQLMesh does not ask it."""
        rows = safely(self._rows)
        return rows if isinstance(rows, int) and rows >= 0 else None

    def _rows(self) -> int | None:
        if self._tracker is None:
            return None
        batch_id = importlib.import_module("sqlmesh.core.snapshot").SnapshotIdBatch
        execution = self._tracker.get_execution_context(
            batch_id(snapshot_id=self.batch.snapshot.snapshot_id, batch_id=self.batch.number - 1)
        )
        return execution.stats.total_rows_processed if execution is not None else None


def _query(query: Any) -> str | None:
    return truncate_middle(query.sql(pretty=True), MESSAGE_CHARACTERS) if query is not None else None
