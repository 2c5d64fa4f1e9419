"""One batch of one node while it is evaluated, with the audits that have run so far."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any

from ._audit import Audit
from ._batch import Batch
from ._errors import traceback_of
from ._guard import safely

if TYPE_CHECKING:
    from ._recording import Recording


class Evaluation:
    """`tracker`: SQLMesh's count of the rows, where it has one. `only_audits`: the data stays as it is."""

    def __init__(self, recording: Recording, batch: Batch, tracker: Any, only_audits: bool) -> None:
        self.recording = recording
        self.batch = batch
        self.only_audits = only_audits
        self._tracker = tracker
        self._began = time.monotonic()
        self._audits: list[Audit] = []

    def note_audit(self, result: Any) -> None:
        if result.skipped or any(result is audit.result for audit in self._audits):
            return
        audit = Audit.of(result)
        self._audits.append(audit)
        identifier, interval = self.batch.evaluation_id, self.batch.interval()
        self.recording.put("audit", evaluation_id=identifier, **audit.fields(), **interval)

    def failed_by_audits(self) -> str | None:
        """Where only audits run, SQLMesh raises after they have returned."""
        failed = [audit for audit in self._audits if audit.count and audit.blocking]
        if not self.only_audits or not failed:
            return None
        return "; ".join(f"audit {audit.name} failed: {audit.rows()}" for audit in failed)

    def account(self, error: BaseException | None) -> str:
        """The evaluation's log."""
        lines = [f"{self.batch.snapshot.node.name}, version {self.batch.version}"]
        if self.only_audits:
            lines.append("only audits: the data stays as it is")
        start, end = self.batch.interval().values()
        if start and end:
            lines.append(f"batch {self.batch.number}: {start} to {end} (exclusive)")
        rows = safely(self._rows)
        seconds = f"{'finished' if error is None else 'failed'} after {time.monotonic() - self._began:.2f} s"
        lines.append(f"{seconds}, {rows} rows" if rows else seconds)
        if self._audits:
            lines.append("audits: " + "; ".join(audit.verdict() for audit in self._audits))
        if error is not None:
            lines += ["", traceback_of(error)]
        return "\n".join(lines)

    def _rows(self) -> int | None:
        if self._tracker is None:
            return None
        batch_id = importlib.import_module("sqlmesh.core.snapshot").SnapshotIdBatch
        known = self._tracker.get_execution_context(
            batch_id(snapshot_id=self.batch.snapshot.snapshot_id, batch_id=self.batch.number - 1)
        )
        return known.stats.total_rows_processed if known is not None else None
