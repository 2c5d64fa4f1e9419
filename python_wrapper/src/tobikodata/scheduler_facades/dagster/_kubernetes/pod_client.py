"""Dagster's Kubernetes Pipes client, with a watch of our own over the pod.

The stock client waits for hours where a pod cannot start, hides why one ended, and takes the end of a log stream for
the end of the pod.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from threading import Event as Flag
from threading import Thread
from typing import Any, NoReturn

import urllib3.exceptions
from dagster_k8s import PipesK8sClient
from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]

import dagster as dg

from .._errors import TobikoFacadeError
from .._events.messages import LogLine
from .orphaned_pods import delete_orphaned_pods
from .pod_reader import PodReader
from .pod_state import state_of
from .pod_watch import PodWatch

API_OUTAGE_LIMIT_S = 300.0
# Some clusters answer 401 for a moment.
UNAUTHORIZED_LIMIT_S = 20.0
CALL_LIMIT_S = 10
# How long to wait for the end of the log.
DRAIN_LIMIT_S = 60.0
_ROLE = "give its service account the Role of examples/kubernetes/rbac.yaml"


class PodError(TobikoFacadeError):
    """Why a pod did not do its work, in a sentence."""


class ContainerExited(Exception):
    """The container has exited by itself, and its log has been read."""


class WatchedPodClient(PipesK8sClient):
    """Follows the log and the state of a pod until it has ended. For one launch.

    Afterwards `exit_code` is set if the container exited by itself, else `error` says what else happened.
    """

    def __init__(
        self, reader: PodReader, container: str, start_limit_s: float, instance: dg.DagsterInstance, **options: Any
    ) -> None:
        super().__init__(message_reader=reader, **options)
        self._reader = reader
        self._container = container
        self._start_limit_s = start_limit_s
        self._instance = instance
        self._core_api: Any = None
        self._woken = Flag()
        self._stopped = Flag()
        self._outage_since: float | None = None
        self.namespace = ""
        self.pod = ""
        self.exit_code: int | None = None
        self.error: PodError | None = None
        self.is_deleted = False

    def stop(self) -> None:
        """Ends the watch, and with it the pod."""
        self._stopped.set()
        self._woken.set()

    def consume_pod_logs(  # type: ignore[override]  # takes what either version of dagster-k8s passes
        self,
        context: Any,  # noqa: ARG002
        client: Any,
        namespace: str,
        pod_name: str,
        **_: Any,
    ) -> NoReturn:
        """Replaces the stock client's, between the creation of the pod and its deletion.

        Always raises, to bypass the stock client's wait for the end of the pod: that would wait for every sidecar.
        """
        self._core_api, self.namespace, self.pod = client.core_api, namespace, pod_name
        self._log(logging.INFO, f"launched in pod {pod_name}, namespace {namespace}")
        for name in delete_orphaned_pods(client.core_api, namespace, self._instance):
            self._log(logging.INFO, f"deleted the pod {name}, which the killed worker of a finished run had left")
        over = Flag()
        follower = Thread(
            target=self._reader.follow,
            args=(client.core_api, namespace, pod_name, self._container, over, self._woken.set),
            daemon=True,
        )
        try:
            self.exit_code = self._watch(follower)
        except PodError as error:
            self.error = error
            raise
        finally:
            over.set()
            if follower.ident and not self._stopped.is_set():
                follower.join(DRAIN_LIMIT_S)
        if self._reader.is_incomplete or follower.is_alive():
            self.error = PodError("the API server did not return the end of the pod's log")
            raise self.error
        raise ContainerExited

    def delete(self) -> None:
        """Deletes the pod, with retries: an orphaned pod would continue to run."""
        reason = ""
        for attempt in range(3):
            if self.is_deleted or not self.pod:
                return
            try:
                self._core_api.delete_namespaced_pod(self.pod, self.namespace, _request_timeout=CALL_LIMIT_S)
                self.is_deleted = True
                return
            except (ApiException, urllib3.exceptions.HTTPError, OSError) as error:
                status = getattr(error, "status", None)
                if status == 404:
                    self.is_deleted = True
                    return
                reason = describe_error(error)
                if status == 403:
                    break
            time.sleep(0.5 * 2**attempt)
        self._log(logging.WARNING, f"the pod {self.pod} in namespace {self.namespace} could not be deleted: {reason}")

    def _watch(self, follower: Thread) -> int | None:
        """The exit code of the container; PodError if it ended otherwise."""
        watch = PodWatch(time.monotonic(), self._start_limit_s, float(self.poll_interval))
        while True:
            self._woken.clear()
            if self._stopped.is_set():
                raise PodError("stopped")
            if self._reader.refused:
                raise PodError(describe_error(self._reader.refused))
            pod = self._find_pod()
            step = watch.step(state_of(pod, self._container) if pod else None, time.monotonic())
            watch = step.watch
            if step.follow_log and not follower.ident:
                follower.start()
            if step.failure:
                raise PodError(step.failure + (self._warning_events() if step.with_events else ""))
            if step.ended:
                return step.exit_code
            if step.warning:
                self._log(logging.WARNING, f"the pod {self.pod} is waiting: {step.warning}")
            self._woken.wait(step.next_poll_s)

    def _find_pod(self) -> Any:
        while True:
            try:
                found = self._core_api.list_namespaced_pod(
                    self.namespace, field_selector=f"metadata.name={self.pod}", _request_timeout=CALL_LIMIT_S
                ).items
                self._outage_since = None
                return found[0] if found else None
            except ApiException as error:
                if error.status in (403, 404):
                    raise PodError(describe_error(error)) from None
                limit_s = UNAUTHORIZED_LIMIT_S if error.status == 401 else API_OUTAGE_LIMIT_S
                self._tolerate_outage(describe_error(error), limit_s)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self._tolerate_outage(describe_error(error), API_OUTAGE_LIMIT_S)

    def _tolerate_outage(self, reason: str, limit_s: float) -> None:
        """The API server may be away for minutes, during an upgrade for example: the pod continues to run."""
        now = time.monotonic()
        self._outage_since = self._outage_since or now
        outage_s = now - self._outage_since
        if self._stopped.is_set() or outage_s > limit_s:
            raise PodError(f"the state of the pod has been unavailable for {outage_s:.0f} s: {reason}")
        self._stopped.wait(min(5.0, float(self.poll_interval)))

    def _warning_events(self) -> str:
        """The last of the warnings among the pod's events."""
        try:
            events = self._core_api.list_namespaced_event(
                self.namespace, field_selector=f"involvedObject.name={self.pod}", _request_timeout=CALL_LIMIT_S
            ).items
        except ApiException as error:
            return f" (its events cannot be read: {describe_error(error)})"
        except (urllib3.exceptions.HTTPError, OSError):
            return ""
        texts = [f"{event.reason}: {event.message}" for event in events if event.type == "Warning"]
        return "".join(f"; {text}" for text in list(dict.fromkeys(texts))[-3:])

    def _log(self, level: int, text: str) -> None:
        self._reader.events.put(LogLine(level, text))


def describe_error(error: BaseException) -> str:
    """What went wrong with a call, without the headers that the client puts into its message."""
    if isinstance(error, ApiException):
        message = _server_message(error)
        if error.status == 403 and "is forbidden" in message and "cannot" in message:
            return f"{message}: {_ROLE}"
        return f"the Kubernetes API answered {error.status}: {message}" if error.status else message
    if isinstance(error, urllib3.exceptions.MaxRetryError):
        return f"the Kubernetes API cannot be reached: {error.reason}"
    return str(error) or type(error).__name__


def _server_message(error: ApiException) -> str:
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else error.body
    try:
        answer = json.loads(body or "")
    except ValueError:
        answer = None
    if isinstance(answer, Mapping) and answer.get("message"):
        return str(answer["message"])
    return str(body or error.reason or "no reason given").strip()[:500]
