"""The queue of events, the thread that sends them, and the heartbeats.

Order is kept: no event overtakes those in the spool. An event leaves the queue once the server or the spool
has it; the server recognizes a duplicate by its id.
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

from ._formatting import now
from ._guard import failure_level, log, safely
from ._server import Server, one_request
from ._settings import Settings
from ._spool import Spool

HEARTBEAT_SECONDS = 10.0
FLUSH_SECONDS = 0.4  # how long an unresponsive server may delay the end of the process
MAX_BACKOFF_SECONDS = 30.0
BUSY_RETRY_SECONDS = 0.2
MAX_QUEUED_EVENTS = 20_000  # only reached if the spool file can't be written either


class _Busy(Exception):
    """Another process is sending the spool's events."""


class Delivery:
    def __init__(self, settings: Settings) -> None:
        # The fields of each open recording's heartbeats, by its id.
        self.heartbeats: dict[int, Mapping[str, Any]] = {}
        self._server = Server(settings)
        self._spool = Spool(settings.spool)
        self._queue: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closing = False
        self._is_stuck = False  # neither server nor spool takes events: the queue has to wait
        self._retry_at = 0.0
        self._failures = 0
        self._next_heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        self._process_id = os.getpid()
        atexit.register(self.close)

    def put(self, *events: Mapping[str, Any]) -> None:
        """Queues events, each with its `type`. Those of one call are sent in one request, as far as they fit."""
        if not events:
            return
        lines = [json.dumps({"id": str(uuid.uuid4()), "at": now(), **event}, default=str).encode() for event in events]
        with self._changed:
            if len(self._queue) < MAX_QUEUED_EVENTS:
                self._queue.extend(lines)
            self._wake()

    def wake_for_spool(self) -> None:
        """Sends what an earlier process left in the spool; if there is nothing, this costs one `stat`."""
        if self._thread is None and not self._spool.is_empty():
            with self._changed:
                self._wake()

    def close(self) -> None:
        """Waits a moment for the events that are being sent; the rest goes to the spool."""
        if self._process_id != os.getpid():
            return
        atexit.unregister(self.close)
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(FLUSH_SECONDS)
        with self._changed:
            unsent = list(self._queue)
        safely(self._spool.append, unsent)

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
            self._put_heartbeats()

    def _idle_seconds(self) -> float:
        """How long there is nothing to do, unless an event is put."""
        due = self._next_heartbeat_at
        if self._queue and not self._is_stuck:
            return 0.0
        if self._is_stuck or not self._spool.is_empty():
            due = min(due, self._retry_at)
        return min(max(due - time.monotonic(), 0.05 if self._is_stuck else 0.0), HEARTBEAT_SECONDS)

    def _deliver(self, batch: Sequence[bytes]) -> bool:
        """Sends the events to the server, or writes them to the spool."""
        is_backing_off = time.monotonic() < self._retry_at
        if not batch and (is_backing_off or self._spool.is_empty()):
            return True
        try:
            if not is_backing_off:
                self._send(batch)
                self._failures = 0
                return True
        except _Busy:
            self._retry_at = time.monotonic() + BUSY_RETRY_SECONDS
        except Exception as error:
            self._back_off(error)
        self._spool.append(batch)
        return True

    def _send(self, batch: Sequence[bytes]) -> None:
        if not self._spool.is_empty():
            with self._spool.draining() as is_locked:
                if not is_locked:
                    raise _Busy
                while waiting := one_request(self._spool.read()):
                    self._server.post(waiting)
                    self._spool.remove(waiting)
        if batch:
            self._server.post(batch)

    def _back_off(self, error: Exception) -> None:
        seconds = min(2.0**self._failures, MAX_BACKOFF_SECONDS)
        self._retry_at = time.monotonic() + seconds
        text = "failed to send events to the local cloud (%s); they wait in %s"
        log.log(failure_level(is_new=not self._failures), text, error, self._spool.path)
        self._failures += 1

    def _put_heartbeats(self) -> None:
        if time.monotonic() < self._next_heartbeat_at:
            return
        self._next_heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        if not self._failures:  # heartbeats are not kept for later, so none goes to the spool
            for key in list(self.heartbeats.values()):
                self.put({"type": "heartbeat", **key})
