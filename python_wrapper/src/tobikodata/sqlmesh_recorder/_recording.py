"""One run or plan: what has been told of it, and what is open."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Callable

from ._batch import Batch
from ._delivery import Delivery
from ._errors import is_abort, message_of, status_of, traceback_of
from ._evaluation import Evaluation
from ._guard import safely
from ._names import node_name
from ._text import LOG_CHARACTERS, cut
from ._times import now


class Recording:
    """A run is held back until it evaluates something: one that does not is no run."""

    def __init__(self, kind: str, key: str, delivery: Delivery, outer: Recording | None = None) -> None:
        self.kind = kind
        self.outer = outer
        self.environment = ""
        self.was_due = False
        self.skipped: set[str] = set()
        self._key = {f"{kind}_id": key}
        self._delivery = delivery
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._is_told = False
        self._began_at = now()
        self._held: list[Mapping[str, Any]] = []  # environments, until it is told
        self._scheduled: dict[tuple[str, Any, Any], Batch] = {}
        self._open: dict[str, Evaluation] = {}
        self._seen: dict[str, str] = {}  # node name -> the name that the user wrote
        self._failed: dict[str, None] = {}

    def is_mine(self) -> bool:
        """False in a process that was forked from the one that opened it."""
        return self._process == os.getpid()

    def tell(self) -> None:
        with self._lock:
            if self._is_told:
                return
            self._is_told = True
            for fields in self._held:
                self.put("environment", **fields)
            self.put(f"{self.kind}_started", at=self._began_at, **self._key, environment=self.environment)
            self._delivery.hearts[id(self)] = self._key

    def put_environment(self, fields: Mapping[str, Any]) -> None:
        with self._lock:
            if self._is_told:
                self.put("environment", **fields)
            else:
                self._held.append(fields)

    def schedule(self, batch: Batch) -> None:
        with self._lock:
            if batch.key in self._scheduled:
                return  # SQLMesh starts a run anew when a plan changes the environment under it
            self.tell()
            self._seen[batch.snapshot.name] = batch.snapshot.node.name
            self._scheduled[batch.key] = batch
            self._put_evaluation("evaluation_scheduled", batch.evaluation_id, batch.fields())

    def start(self, batch: Batch, tracker: Any = None, only_audits: bool = False) -> Evaluation:
        with self._lock:
            self.tell()
            self._seen[batch.snapshot.name] = batch.snapshot.node.name
            scheduled = self._scheduled.pop(batch.key, batch)
            batch = replace(batch, evaluation_id=scheduled.evaluation_id)
            evaluation = Evaluation(self, batch, tracker, only_audits)
            self._open[batch.evaluation_id] = evaluation
            self._put_evaluation("evaluation_started", batch.evaluation_id, batch.fields())
        return evaluation

    def finish(self, evaluation: Evaluation, error: BaseException | None) -> None:
        message = message_of(error) if error is not None else evaluation.failed_by_audits()
        status = status_of(error, failed=message is not None)
        with self._lock:
            if self._open.pop(evaluation.batch.evaluation_id, None) is None:
                return
            if status == "failed":
                self._failed[evaluation.batch.snapshot.name] = None
        self._put_end(evaluation.batch.evaluation_id, status, message, evaluation.account(error))

    def fail_unevaluated(self, error: Any, known_as: Callable[[str], tuple[str, str | None]]) -> None:
        """Notes a node that failed before its evaluation began, as when its table can't be created."""
        name, cause = node_name(error.node), error.__cause__ or error
        if not name or type(cause).__name__ == "CircuitBreakerError":
            return
        written, version = known_as(name)
        identifier = str(uuid.uuid4())
        fields = {"node_name": name, "version": version, "interval_start": None, "interval_end": None}
        with self._lock:
            if name in self._failed:
                return
            self._failed[name] = None
            self._seen.setdefault(name, written)
            key = next((key for key in self._scheduled if key[0] == name), None)
            if key is not None:
                batch = self._scheduled.pop(key)
                identifier, fields = batch.evaluation_id, batch.fields()
            self.tell()
            self._put_evaluation("evaluation_started", identifier, fields)
        text = "failed before the evaluation began\n\n" + traceback_of(cause)
        self._put_end(identifier, "failed", message_of(cause), text)

    def end(self, failed: bool, error: BaseException | None) -> None:
        self._delivery.hearts.pop(id(self), None)
        if not self.is_mine():
            return
        for evaluation in list(self._open.values()):
            safely(self.finish, evaluation, error or KeyboardInterrupt())
        if error is not None and self.was_due:
            self.tell()
        if not self._is_told:
            return
        texts = [message_of(error)] if error is not None else []
        if self._failed and not is_abort(error):
            texts.append(self._count_failed())
        status = status_of(error, failed)
        message = "\n".join(texts) if status != "success" else None
        fields = {"environment": self.environment, "status": status, "error_message": message}
        self.put(f"{self.kind}_ended", **self._key, **fields)

    def put(self, kind: str, at: str | None = None, **fields: Any) -> None:
        self._delivery.put({"type": kind, **fields}, at)

    def _put_evaluation(self, kind: str, identifier: str, fields: Mapping[str, Any]) -> None:
        self.put(kind, evaluation_id=identifier, **self._key, environment=self.environment, **fields)

    def _put_end(self, identifier: str, status: str, message: str | None, text: str) -> None:
        fields = {"status": status, "error_message": message, "log": cut(text, LOG_CHARACTERS)}
        self.put("evaluation_ended", evaluation_id=identifier, **fields)

    def _count_failed(self) -> str:
        names = cut(", ".join(self._seen.get(name, name) for name in self._failed), 1000)
        skipped = len(self.skipped.difference(self._failed))
        text = f"{len(self._failed)} of {len(self._seen)} nodes failed: {names}"
        return f"{text}; {skipped} skipped" if skipped else text
