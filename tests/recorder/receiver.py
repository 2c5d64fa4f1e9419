"""A server that accepts the recorder's events on a real socket, as the local cloud does, and can inject faults."""

from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Event = dict[str, Any]


class Receiver:
    """`mode`: None (works), "hang", or an HTTP status to respond with. `is_bad`: which events are refused."""

    def __init__(self, port: int = 0) -> None:
        self.mode: str | int | None = None
        self.is_bad: Callable[[Event], bool] = lambda _: False
        self.bad_answer = 200  # 200: listed in "refused"; 4xx: the whole request is refused
        self.location = ""  # where a 3xx sends the client
        self.client: tuple[str, str] | None = None
        self.valid_tokens: set[str] = set()
        self.events: list[Event] = []
        self.received = 0
        self.requests: list[str] = []
        self.answered = 0
        self.proxy_authorization = ""  # of the last request
        self.connections: list[socket.socket] = []
        self._changed = threading.Condition()
        self._released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver.connections.append(self.request)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(self.path)
                receiver.proxy_authorization = self.headers.get("Proxy-Authorization", "")
                if receiver.mode == "hang":
                    receiver._released.wait(60)
                    self.close_connection = True
                    return
                if isinstance(receiver.mode, int):
                    status, answer = receiver.mode, {"detail": "as the test requests"}
                elif self.path.endswith("/auth/token"):
                    status, answer = receiver._login(self.headers.get("Authorization", ""))
                elif not receiver._authenticates(self.headers.get("Authorization", "")):
                    status, answer = 401, {"detail": "unauthenticated"}
                else:
                    status, answer = receiver._accept(body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                receiver.answered += 1

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()
        self.drop_connections()

    def drop_connections(self) -> None:
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def of(self, *types: str) -> list[Event]:
        return [event for event in self.events if event["type"] in types]

    def wait_for(self, fact: Callable[[], Any], seconds: float = 20) -> Any:
        """Waits until something is true of what was received; fails with what was received if it never is."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not fact():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not in {seconds} s; events: {[e['type'] for e in self.events]}")
                self._changed.wait(min(left, 0.1))
            return fact()

    def _accept(self, body: bytes) -> tuple[int, Any]:
        events = [json.loads(line) for line in body.splitlines()]
        refused = [event for event in events if self.is_bad(event)]
        if refused and self.bad_answer != 200:
            return self.bad_answer, {"detail": "one of them is invalid"}
        with self._changed:
            self.received += len(events)
            known = {event["id"] for event in self.events}
            fresh = [event for event in events if event not in refused and event["id"] not in known]
            self.events += fresh
            self._changed.notify_all()
        reasons = [{"id": event["id"], "reason": "bad"} for event in refused]
        count = len(events) - len(refused)
        return 200, {"accepted": len(fresh), "known": count - len(fresh), "refused": reasons}

    def _login(self, authorization: str) -> tuple[int, Any]:
        expected = "Basic " + base64.b64encode(":".join(self.client or ("", "")).encode()).decode()
        if authorization != expected:
            return 401, {"error": "invalid_client"}
        token = f"token-{len(self.valid_tokens)}"
        self.valid_tokens = {token}
        return 200, {"access_token": "not-this-one", "id_token": token, "expires_in": 3600}

    def _authenticates(self, authorization: str) -> bool:
        return self.client is None or authorization.removeprefix("Bearer ") in self.valid_tokens
