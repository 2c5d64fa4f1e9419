"""Follows the log of a pod until it ends, across any number of streams, and passes on its messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from typing import Any, Callable

import urllib3.exceptions
from dagster_k8s.pipes import PipesK8sPodLogsMessageReader
from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]

from .._events.reader import EventQueue, message_in
from .pod_log import PodLog

# A stream without data for this long is reopened: the connection may be dead.
IDLE_LIMIT_S = 30
CONNECT_LIMIT_S = 10
MAX_PAUSE_S = 3.0
# How long to retry for the end of the log when the pod has ended and the API server answers with errors.
LAST_READ_LIMIT_S = 45


class PodReader(EventQueue, PipesK8sPodLogsMessageReader):
    """`forward` gets the lines that are not messages: whatever else the executable prints."""

    def __init__(self, forward: Callable[[str], None]) -> None:
        super().__init__()
        self._forward = forward
        self._log = PodLog()
        self._lines = 0
        # Set if the log can never be read.
        self.refused: ApiException | None = None
        self.is_incomplete = False

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        self._pipes_handler = handler
        yield {"stdio": "stderr"}

    def follow(
        self, core_api: Any, namespace: str, pod: str, container: str, over: Flag, cut: Callable[[], None]
    ) -> None:
        """Returns when `over` was set and everything has been read. Calls `cut` whenever a stream ends."""
        failures = idle = 0
        given_up_at: float | None = None
        while True:
            # Checked before reading: everything written before is then read.
            last = over.is_set()
            before = self._lines
            try:
                self._read(core_api, namespace, pod, container, follow=not last)
                if last:
                    return
                failures = 0
            except ApiException as error:
                if error.status == 404:
                    return
                if error.status == 403:
                    self.refused = error
                    cut()
                    return
                failures += 1
            except (urllib3.exceptions.HTTPError, OSError):
                failures += 1
            if self._lines > before:
                failures = idle = 0
                given_up_at = None
            else:
                idle += 1
            if last:
                given_up_at = given_up_at or time.monotonic() + LAST_READ_LIMIT_S
                if time.monotonic() > given_up_at:
                    self.is_incomplete = True
                    return
            cut()
            pause_s = min(MAX_PAUSE_S, 0.1 * 2 ** min(10, max(failures, idle)))
            time.sleep(pause_s) if last else over.wait(pause_s)

    def _read(self, core_api: Any, namespace: str, pod: str, container: str, follow: bool) -> None:
        """One stream, to its end."""
        # A raw call, since the client's method has no `sinceTime`, and `sinceSeconds` would need the node's clock.
        query = [("container", container), ("timestamps", "true")]
        query += [("follow", "true")] if follow else []
        query += [("sinceTime", self._log.since)] if self._log.since else []
        response = core_api.api_client.call_api(
            "/api/v1/namespaces/{namespace}/pods/{name}/log",
            "GET",
            path_params={"namespace": namespace, "name": pod},
            query_params=query,
            header_params={"Accept": "*/*"},
            auth_settings=["BearerToken"],
            _preload_content=False,
            _return_http_data_only=True,
            _request_timeout=(CONNECT_LIMIT_S, IDLE_LIMIT_S),
        )
        stream = self._log.stream()
        try:
            for chunk in response.stream():
                for line in stream.feed(chunk):
                    self._handle_line(line)
            if not follow:
                for line in stream.finish():
                    self._handle_line(line)
        finally:
            response.close()

    def _handle_line(self, line: str) -> None:
        self._lines += 1
        try:
            message = message_in(line)
        except ValueError:  # incomplete: the count in the last message reveals it
            message = None
        if message is None:
            self._forward(line)
        elif self._pipes_handler and message.get("method") in ("opened", "closed"):
            self._pipes_handler.handle_message(message)  # Dagster expects them, in this thread, before the session ends
        else:
            self.handle_message(message)
