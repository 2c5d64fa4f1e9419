"""The recording of one run or plan: what has been reported, and which evaluations are open."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Callable

from ._delivery import Delivery
from ._evaluation import AuditCall, Batch, Evaluation
from ._formatting import (
    LOG_CHARACTERS,
    forget_texts,
    is_abort,
    message_of,
    node_name,
    now,
    status_of,
    traceback_of,
    truncate_middle,
)
from ._guard import safely


class Recording:
    """A run is held back until it evaluates something or fails: one that had nothing to do is not recorded.

    `project`: the fields that identify the project, for every event.
    """

    def __init__(
        self,
        kind: str,
        key: str,
        delivery: Delivery,
        project: Mapping[str, Any] | None = None,
        outer: Recording | None = None,
        started_at: str | None = None,
    ) -> None:
        self.kind = kind
        self.outer = outer
        self.environment = ""
        self.had_work = False
        self.skipped: set[str] = set()
        self._key = {f"{kind}_id": key}
        self._project = project or {}
        self._delivery = delivery
        self._process_id = os.getpid()
        self._lock = threading.RLock()
        self._is_reported = False
        self._started_at = started_at or now()
        self._held: list[Mapping[str, Any]] = []  # environments, until the start is reported
        self._scheduled: dict[tuple[str, Any, Any], Batch] = {}
        self._open: dict[str, Evaluation] = {}
        self._model_names: dict[str, str] = {}  # by node name: the name that the user wrote
        self._failed: dict[str, None] = {}

    def is_of_this_process(self) -> bool:
        """False in a process that was forked from the one that opened it."""
        return self._process_id == os.getpid()

    def report_start(self) -> None:
        with self._lock:
            self._delivery.put(*self._start_events())

    def put_environment(self, fields: Mapping[str, Any]) -> None:
        with self._lock:
            if self._is_reported:
                self.put("environment", **fields)
            else:
                self._held.append(fields)

    def schedule(self, batches: Sequence[Batch]) -> None:
        """Records what SQLMesh is going to evaluate. It may schedule anew: when a plan changes the environment of a
        run in the meantime, the run restarts."""
        with self._lock:
            start = self._start_events() if batches else []
            if self.kind == "run" and batches:
                # In one request with the start: a reader never sees a run without what is due in it.
                names = sorted({batch.snapshot.name for batch in batches})
                start.append(self._event("due", **self._key, environment=self.environment, node_names=names))
            self._delivery.put(*start)
            scheduled = []
            for batch in batches:
                if batch.key not in self._scheduled:
                    self._model_names[batch.snapshot.name] = batch.snapshot.node.name
                    self._scheduled[batch.key] = batch
                    scheduled.append(self._evaluation("evaluation_scheduled", batch.evaluation_id, batch.fields()))
            self._delivery.put(*scheduled)

    def start(
        self, batch: Batch, tracker: Any = None, only_audits: bool = False, ends_with_audits: bool = False
    ) -> Evaluation:
        with self._lock:
            self.report_start()
            self._model_names[batch.snapshot.name] = batch.snapshot.node.name
            scheduled = self._scheduled.pop(batch.key, batch)
            batch = replace(batch, evaluation_id=scheduled.evaluation_id)
            evaluation = Evaluation(batch, tracker, only_audits, ends_with_audits)
            self._open[batch.evaluation_id] = evaluation
            fields = {**batch.fields(), "only_audits": True} if only_audits else batch.fields()
            self._delivery.put(self._evaluation("evaluation_started", batch.evaluation_id, fields))
        return evaluation

    def put_audit(self, evaluation: Evaluation, result: Any, call: AuditCall | None = None) -> None:
        fields = evaluation.add_audit(result, call)
        if fields is not None:
            self.put("audit", **fields)

    def finish(self, evaluation: Evaluation, error: BaseException | None) -> None:
        message = message_of(error) if error is not None else evaluation.failed_by_audits()
        status = status_of(error, failed=message is not None)
        with self._lock:
            if self._open.pop(evaluation.batch.evaluation_id, None) is None:
                return
            if status == "failed":
                self._failed[evaluation.batch.snapshot.name] = None
        rows = evaluation.rows_processed()
        text = evaluation.log_text(error, rows)
        self._put_end(evaluation.batch.evaluation_id, status, message, text, rows)

    def fail_unevaluated(self, error: Any, find_node: Callable[[str], tuple[str, str | None]]) -> None:
        """Records a node that failed before its evaluation started, for example as its table can't be created."""
        name, cause = node_name(error.node), error.__cause__ or error
        if not name or type(cause).__name__ == "CircuitBreakerError":
            return
        model_name, version = find_node(name)
        identifier = str(uuid.uuid4())
        fields = {"node_name": name, "version": version, "interval_start": None, "interval_end": None}
        with self._lock:
            if name in self._failed:
                return
            self._failed[name] = None
            self._model_names.setdefault(name, model_name)
            key = next((key for key in self._scheduled if key[0] == name), None)
            if key is not None:
                batch = self._scheduled.pop(key)
                identifier, fields = batch.evaluation_id, batch.fields()
            self.report_start()
            self._delivery.put(self._evaluation("evaluation_started", identifier, fields))
        text = "failed before the evaluation started\n\n" + traceback_of(cause)
        self._put_end(identifier, "failed", message_of(cause), text)

    def end(self, failed: bool, error: BaseException | None) -> None:
        self._delivery.heartbeats.pop(id(self), None)
        forget_texts()
        if not self.is_of_this_process():
            return
        for evaluation in list(self._open.values()):
            safely(self.finish, evaluation, error or KeyboardInterrupt())
        if error is not None and (self.had_work or not is_abort(error)):
            self.report_start()
        if not self._is_reported:
            return
        texts = [message_of(error)] if error is not None else []
        if self._failed and not is_abort(error):
            texts.append(self._failed_nodes())
        status = status_of(error, failed)
        message = "\n".join(texts) if status != "success" else None
        fields = {"environment": self.environment, "status": status, "error_message": message}
        self._delivery.put(self._event(f"{self.kind}_ended", **self._key, **fields), urgent=True)

    def put(self, kind: str, **fields: Any) -> None:
        self._delivery.put(self._event(kind, **fields))

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, **self._project, **fields}

    def _start_events(self) -> list[dict[str, Any]]:
        """The events that start the recording; none if they have been reported."""
        if self._is_reported:
            return []
        self._is_reported = True
        self._delivery.heartbeats[id(self)] = {**self._project, **self._key}
        environments = [self._event("environment", **fields) for fields in self._held]
        start = self._event(f"{self.kind}_started", at=self._started_at, **self._key, environment=self.environment)
        return [*environments, start]

    def _evaluation(self, kind: str, identifier: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        return self._event(kind, evaluation_id=identifier, **self._key, environment=self.environment, **fields)

    def _put_end(self, identifier: str, status: str, message: str | None, text: str, rows: int | None = None) -> None:
        fields = {"status": status, "error_message": message, "log": truncate_middle(text, LOG_CHARACTERS)}
        counted = {} if rows is None else {"rows_processed": rows}
        self._delivery.put(self._event("evaluation_ended", evaluation_id=identifier, **fields, **counted), urgent=True)

    def _failed_nodes(self) -> str:
        names = truncate_middle(", ".join(self._model_names.get(name, name) for name in self._failed), 1000)
        skipped = len(self.skipped.difference(self._failed))
        text = f"{len(self._failed)} of {len(self._model_names)} nodes failed: {names}"
        return f"{text}; {skipped} skipped" if skipped else text
