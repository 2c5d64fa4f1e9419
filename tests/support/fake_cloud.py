"""A cloud that answers whatever JSON a test gives it: what the local cloud would refuse to be told."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from urllib.parse import parse_qs, unquote, urlsplit

import pytest


class FakeCloud:
    """Dags by environment; runs, newest first; evaluations, oldest first. All of it may be changed at any time."""

    def __init__(self) -> None:
        self.dags: dict[str, Any] = {}
        self.runs: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, Any]] = []
        # Given, it is the status of every answer but those of the token endpoint.
        self.status: Optional[int] = None
        # The plans that have ended, oldest first. Given, this is a local cloud, else Tobiko Cloud.
        self.plans: Optional[list[dict[str, Any]]] = None
        # The paths that were requested, with their queries.
        self.requested: list[str] = []
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                cloud.requested.append(self.path)
                self._answer({"detail": "no"} if cloud.status else cloud.answer(self.path), cloud.status)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self._answer({"access_token": "a", "id_token": "i", "token_type": "bearer", "expires_in": 3600})

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _answer(self, found: Any, status: Optional[int] = None) -> None:
                body = json.dumps({"detail": "Not Found"} if found is None else found).encode()
                self.send_response(status or (404 if found is None else 200))
                self.send_header("Content-Type", "application/json")
                if cloud.plans is not None:
                    self.send_header("x-tobiko-local-cloud", "0")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self._server.server_address[1]}/project"

    @classmethod
    @contextmanager
    def pretended(cls, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
        """Serves, and is what the environment names."""
        cloud = cls()
        monkeypatch.setenv("TCLOUD_BASE_URL", cloud.base_url)
        monkeypatch.setenv("TCLOUD_CLIENT_ID", "somebody")
        monkeypatch.setenv("TCLOUD_CLIENT_SECRET", "something")
        try:
            yield cloud
        finally:
            cloud.stop()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, path: str) -> Optional[Any]:
        url = urlsplit(path)
        asked = {name: values[-1] for name, values in parse_qs(url.query).items()}
        parts = [unquote(part) for part in url.path.split("/api/v1/")[1].split("/")]
        if parts[0] == "dags":
            return self.dags.get(parts[1])
        if parts[0] == "plans":
            return self._plans(parts[1:], asked)
        if parts[0] == "evaluations":
            found = [e for e in self.evaluations if asked.get("node_name") in (None, e["node_name"])]
            found = [e for e in found if asked.get("plan_id") in (None, e.get("plan_id"))]
            if asked.get("latest") == "true":
                found = list({e["node_name"]: e for e in found}.values())
            found = found[::-1] if asked.get("sort") == "desc" else found
            return found[: int(asked.get("limit", 1000))]
        if len(parts) == 1:
            return self.runs[:1] if asked.get("last") == "true" else self.runs
        run = next((run for run in self.runs if run["run_id"] == parts[1]), None)
        if len(parts) == 2 or run is None:
            return run
        return [e for e in self.evaluations if e.get("run_id") == parts[1]]

    def _plans(self, parts: list[str], asked: dict[str, str]) -> Optional[Any]:
        if self.plans is None:
            return None
        if parts:
            return next((plan for plan in self.plans if plan["plan_id"] == parts[0]), None)
        found = [plan for plan in self.plans if plan["seq"] > int(asked.get("since_seq", 0))]
        found = found[::-1] if asked.get("sort") == "desc" else found
        return found[: int(asked.get("limit", 100))]
