"""Follows a pod's log until the pod is over, across any number of streams, and hands on what it says."""

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

# A stream that brings nothing for so long is opened again: it may have been cut without a word.
QUIET_LIMIT_S = 30
CONNECT_LIMIT_S = 10
LONGEST_PAUSE_S = 3.0
# How long the end of the log is asked for in vain when the pod is over and the API server answers with errors.
LAST_READ_LIMIT_S = 45


class PodReader(EventQueue, PipesK8sPodLogsMessageReader):
    """`forward` gets the lines that are no messages: what the executable prints."""

    def __init__(self, forward: Callable[[str], None]) -> None:
        super().__init__()
        self._forward = forward
        self._log = PodLog()
        self._lines = 0
        # Why the log cannot be read and never will be.
        self.refused: ApiException | None = None
        self.is_incomplete = False

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, str]]:
        self._standard = handler
        yield {"stdio": "stderr"}

    def follow(
        self, core_api: Any, namespace: str, pod: str, container: str, over: Flag, cut: Callable[[], None]
    ) -> None:
        """Returns when `over` was set and all has been read. `cut` is called when a stream has ended."""
        failures = idle = 0
        given_up_at: float | None = None
        while True:
            # Asked before reading: all that was written before is then read.
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
            pause_s = min(LONGEST_PAUSE_S, 0.1 * 2 ** min(10, max(failures, idle)))
            time.sleep(pause_s) if last else over.wait(pause_s)

    def _read(self, core_api: Any, namespace: str, pod: str, container: str, follow: bool) -> None:
        """One stream, to its end."""
        # By hand, since the client's method has no `sinceTime`: `sinceSeconds` would need the node's clock.
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
            _request_timeout=(CONNECT_LIMIT_S, QUIET_LIMIT_S),
        )
        stream = self._log.stream()
        try:
            for chunk in response.stream():
                for line in stream.feed(chunk):
                    self._hear(line)
            if not follow:
                for line in stream.finish():
                    self._hear(line)
        finally:
            response.close()

    def _hear(self, line: str) -> None:
        self._lines += 1
        try:
            message = message_in(line)
        except ValueError:  # not whole: the last word will miss it
            message = None
        if message is None:
            self._forward(line)
        elif self._standard and message.get("method") in ("opened", "closed"):
            self._standard.handle_message(message)  # Dagster looks for them when the session ends, in this thread
        else:
            self.handle_message(message)
