"""The queue of events, the thread that sends them, and the heartbeats.

Order is kept: nothing is sent past what waits in the spool. An event leaves the queue when the server or
the spool has it; one that comes twice is known to the server by its id.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from ._guard import safely
from ._log import level_of_trouble, log
from ._server import Server, one_request
from ._settings import Settings
from ._spool import Spool
from ._times import now

HEARTBEAT_SECONDS = 10.0
FLUSH_SECONDS = 0.4  # the longest that a dead server holds up the end of the process
LONGEST_BACKOFF_SECONDS = 30.0
BUSY_SECONDS = 0.2
QUEUE_EVENTS = 20_000  # only reached if the spool file can't be written either


class _Busy(Exception):
    """Another process is sending what waits in the spool."""


class Delivery:
    def __init__(self, settings: Settings) -> None:
        self.hearts: dict[int, Mapping[str, str]] = {}  # who is alive: {"run_id": ...} or {"plan_id": ...}
        self._server = Server(settings)
        self._spool = Spool(settings.spool)
        self._queue: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._is_stuck = False  # neither server nor spool: the queue has to wait
        self._retry_at = 0.0
        self._failures = 0
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
        self._process = os.getpid()
        atexit.register(self.close)

    def put(self, event: Mapping[str, Any], at: str | None = None) -> None:
        line = json.dumps({"id": str(uuid.uuid4()), "at": at or now(), **event}, default=str).encode()
        with self._changed:
            if len(self._queue) < QUEUE_EVENTS:
                self._queue.append(line)
            self._wake()

    def wake_for_spool(self) -> None:
        """Sends what an earlier process left, if there is anything; for an idle run this is one `stat`."""
        if self._thread is None and not self._spool.is_empty():
            with self._changed:
                self._wake()

    def close(self) -> None:
        """Waits a moment for what is on its way; what is left then goes to the spool."""
        if self._process != os.getpid():
            return
        atexit.unregister(self.close)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)
        with self._changed:
            left = list(self._queue)
        safely(self._spool.append, left)

    def _wake(self) -> None:
        if self._thread is None and not self._is_closing:
            name, work = "sqlmesh-recorder", (self._work,)
            self._thread = threading.Thread(target=safely, args=work, name=name, daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._is_closing:
                    self._changed.wait(self._idle_seconds())
                batch, is_last = one_request(self._queue), self._is_closing
            handled = safely(self._deliver, batch)
            with self._changed:
                self._is_stuck = not handled
                for _ in batch if handled else ():
                    self._queue.popleft()
            if is_last and (self._is_stuck or not self._queue):
                return
            self._beat()

    def _idle_seconds(self) -> float:
        """How long there is nothing to do, unless an event comes."""
        due = self._beat_at
        if self._queue and not self._is_stuck:
            return 0.0
        if self._is_stuck or not self._spool.is_empty():
            due = min(due, self._retry_at)
        return min(max(due - time.monotonic(), 0.05 if self._is_stuck else 0.0), HEARTBEAT_SECONDS)

    def _deliver(self, batch: Sequence[bytes]) -> bool:
        """Brings the events to the server, else to the spool."""
        away = time.monotonic() < self._retry_at
        if not batch and (away or self._spool.is_empty()):
            return True
        try:
            if not away:
                self._send(batch)
                self._failures = 0
                return True
        except _Busy:
            self._retry_at = time.monotonic() + BUSY_SECONDS
        except Exception as problem:
            self._step_back(problem)
        self._spool.append(batch)
        return True

    def _send(self, batch: Sequence[bytes]) -> None:
        if not self._spool.is_empty():
            with self._spool.draining() as is_mine:
                if not is_mine:
                    raise _Busy
                while waiting := one_request(self._spool.read()):
                    self._server.post(waiting)
                    self._spool.remove(waiting)
        if batch:
            self._server.post(batch)

    def _step_back(self, problem: Exception) -> None:
        seconds = min(2.0**self._failures, LONGEST_BACKOFF_SECONDS)
        self._retry_at = time.monotonic() + seconds
        text = "failed to tell the local cloud (%s), events wait in %s"
        log.log(level_of_trouble(is_news=not self._failures), text, problem, self._spool.path)
        self._failures += 1

    def _beat(self) -> None:
        if time.monotonic() < self._beat_at:
            return
        self._beat_at = time.monotonic() + HEARTBEAT_SECONDS
        if not self._failures:  # an old heartbeat says nothing, so none goes to the spool
            for key in list(self.hearts.values()):
                self.put({"type": "heartbeat", **key})
