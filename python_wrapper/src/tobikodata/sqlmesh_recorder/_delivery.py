"""The queue of events, the thread that sends them, and the heartbeats.

SQLMesh's threads only queue: what an event needs (its id, its time as text, its texts, its JSON) is made by the thread
that sends. That one pauses between requests, so that events which follow each other closely share one; the end
of something is sent at once, with all that was queued before it.

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
from dataclasses import dataclass
from itertools import islice
from typing import Any, Callable

from ._formatting import utc
from ._guard import failure_level, log, safely
from ._server import REQUEST_EVENTS, Server, one_request
from ._settings import Settings
from ._spool import Spool

HEARTBEAT_SECONDS = 10.0
PAUSE_SECONDS = 0.1  # from the end of a request to the next one
FLUSH_SECONDS = 0.4  # how long an unresponsive server may delay the end of the process
MAX_BACKOFF_SECONDS = 30.0
BUSY_RETRY_SECONDS = 0.2
MAX_QUEUED_EVENTS = 20_000  # while the spool file can't be written either


class _Busy(Exception):
    """Another process is sending the spool's events."""


@dataclass(frozen=True)
class Later:
    """A value of an event that is made when the event is sent: `make` must not depend on what happens until then."""

    make: Callable[[], Any]


class Delivery:
    def __init__(self, settings: Settings) -> None:
        # The fields of each open recording's heartbeats, by its id.
        self.heartbeats: dict[int, Mapping[str, Any]] = {}
        self._server = Server(settings)
        self._spool = Spool(settings.spool)
        self._queue: deque[tuple[float, Mapping[str, Any]]] = deque()  # when it happened, and what
        self._lines: deque[bytes] = deque()  # those before the queue's, ready to be sent
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0  # if nothing happens
        self._is_urgent = False
        self._is_closing = False
        self._is_closed = False  # what is left belongs to `close`
        self._is_stuck = False  # neither server nor spool takes events: the queue has to wait
        self._pause_until = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._next_heartbeat_at = time.monotonic() + HEARTBEAT_SECONDS
        self._process_id = os.getpid()
        atexit.register(self.close)

    def put(self, *events: Mapping[str, Any], urgent: bool = False) -> None:
        """Queues events, each with its `type`. Those of one call are sent in one request, as far as they fit.

        `urgent`: they and all before them are sent without a pause.
        """
        if not events:
            return
        at = time.time()
        with self._changed:
            if not self._is_stuck or len(self._lines) + len(self._queue) < MAX_QUEUED_EVENTS:
                self._queue.extend([(at, event) for event in events])
            if urgent or len(self._queue) >= REQUEST_EVENTS:
                self._is_urgent = True
            self._wake(0.0 if self._is_urgent else self._pause_until)

    def wake_for_spool(self) -> None:
        """Sends what an earlier process left in the spool; if there is nothing, this costs one `stat`."""
        if self._thread is None and not self._spool.is_empty():
            with self._changed:
                self._wake(0.0)

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
            self._is_closed = True
            unsent = [*self._lines, *_lines_of(self._queue)]
        safely(self._spool.append, unsent)

    def _wake(self, due_at: float) -> None:
        if self._thread is None and not self._is_closing:
            name, work = "sqlmesh-recorder", (self._work,)
            self._thread = threading.Thread(target=safely, args=work, name=name, daemon=True)
            self._thread.start()
        if due_at < self._wakes_at:
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._wait_until_due()
                queued, is_last = list(islice(self._queue, REQUEST_EVENTS)), self._is_closing
                self._is_urgent = self._is_urgent and len(queued) < len(self._queue)
            made = _lines_of(queued)
            with self._changed:
                if self._is_closed:
                    return
                for _ in queued:
                    self._queue.popleft()
                self._lines.extend(made)
                batch = one_request(self._lines)
            handled = safely(self._deliver, batch)
            self._pause_until = time.monotonic() + PAUSE_SECONDS
            with self._changed:
                self._is_stuck = not handled
                for _ in batch if handled else ():
                    self._lines.popleft()
                if is_last and (self._is_stuck or not (self._lines or self._queue)):
                    return
            self._put_heartbeats()

    def _wait_until_due(self) -> None:
        while not self._is_closing:
            self._wakes_at = self._due_at()
            seconds = self._wakes_at - time.monotonic()
            if seconds <= 0:
                break
            self._changed.wait(seconds)
        self._wakes_at = 0.0

    def _due_at(self) -> float:
        """When there is something to do, unless an event is put."""
        if self._is_urgent or (self._lines and not self._is_stuck):
            return 0.0
        if self._queue:
            return self._pause_until
        if self._is_stuck or not self._spool.is_empty():
            return min(self._next_heartbeat_at, max(self._retry_at, self._pause_until))
        return self._next_heartbeat_at

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


def _lines_of(queued: Sequence[tuple[float, Mapping[str, Any]]]) -> list[bytes]:
    """As they are sent; without those that can't be written as JSON."""
    lines = [safely(_line, at, event) for at, event in queued]
    return [line for line in lines if line is not None]


def _line(at: float, event: Mapping[str, Any]) -> bytes:
    return _encode({"id": str(uuid.uuid4()), "at": utc(at), **event}).encode()


def _made(value: Any) -> Any:
    return safely(value.make) if isinstance(value, Later) else str(value)


_encode = json.JSONEncoder(default=_made).encode
