"""A network of our own between Dagster and its PostgreSQL: each request arrives late by one round trip, and is counted."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_CHUNK = 1 << 16
# Of PostgreSQL's protocol: what a client sends to have a statement executed.
_STATEMENTS = frozenset(b"QE")


@dataclass(frozen=True)
class Traffic:
    """What clients have sent so far. `open_at_once` is the largest number of connections at one time."""

    connections: int
    statements: int
    open_at_once: int


class DelayingProxy:
    """Passes what clients send on to a PostgreSQL server, as late as the round trip takes; answers are not delayed."""

    def __init__(self, server_socket: str, rtt_s: float) -> None:
        self._server_socket = server_socket
        self._rtt_s = rtt_s
        self._lock = threading.Lock()
        self._connections = self._statements = self._open = self._open_at_once = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def traffic(self) -> Traffic:
        with self._lock:
            return Traffic(self._connections, self._statements, self._open_at_once)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._connections += 1
            self._open += 1
            self._open_at_once = max(self._open_at_once, self._open)
        try:
            with client, socket.socket(socket.AF_UNIX) as server:
                time.sleep(self._rtt_s)  # TCP's own handshake
                server.connect(self._server_socket)
                answers = threading.Thread(target=_copy, args=(server, client), daemon=True)
                answers.start()
                self._forward(client, server)
                answers.join()
        except OSError:
            pass  # one of the two has gone: so does the other
        finally:
            with self._lock:
                self._open -= 1

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        sender = threading.Thread(target=_send_late, args=(late, server), daemon=True)
        sender.start()
        statements = StatementCounter()
        while data := _received(client):
            late.put((time.monotonic() + self._rtt_s, data))
            with self._lock:
                self._statements += statements.count(data)
        late.put((time.monotonic() + self._rtt_s, b""))
        sender.join()


class StatementCounter:
    """Reads the framing of what one client sends: a type, a length, a body. The first message has no type."""

    def __init__(self) -> None:
        self._rest = b""
        self._started = False

    def count(self, data: bytes) -> int:
        """How many statements the data completes the head of."""
        self._rest += data
        found = 0
        while True:
            head = 1 if self._started else 0
            if len(self._rest) < head + 4:
                return found
            size = head + int.from_bytes(self._rest[head : head + 4], "big")
            if len(self._rest) < size:
                return found
            found += bool(head and self._rest[0] in _STATEMENTS)
            # A request for encryption comes before the first message, and looks like it.
            self._started = self._started or size != 8
            self._rest = self._rest[size:]


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except OSError:
        return b""


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := _received(source):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _send_late(late: queue.SimpleQueue[tuple[float, bytes]], target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            due, data = late.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                target.shutdown(socket.SHUT_WR)
                return
            target.sendall(data)


@contextmanager
def delaying_proxy(server_socket: str, rtt_s: float) -> Iterator[DelayingProxy]:
    proxy = DelayingProxy(server_socket, rtt_s)
    try:
        yield proxy
    finally:
        proxy.close()
