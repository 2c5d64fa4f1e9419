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
from .._events.messages import Said
from .orphaned_pods import clear_leftovers
from .pod_reader import PodReader
from .pod_state import DELETED, PodState, state_of

# How long a container may be unable to start for a reason that may pass: an image that is just being pushed.
STUCK_LIMIT_S = 30.0
LONGEST_LOOK_INTERVAL_BEFORE_START_S = 5.0
ENDING_LOOK_INTERVAL_S = 0.5
# A pod that is being deleted has so long to end before it is given up.
DELETION_LIMIT_S = 20.0
API_OUTAGE_LIMIT_S = 300.0
# Some clusters say 401 for a moment.
NOT_LET_IN_LIMIT_S = 20.0
CALL_LIMIT_S = 10
# How long the end of the log is waited for.
DRAIN_LIMIT_S = 60.0
_ROLE = "give its service account the Role of examples/kubernetes/rbac.yaml"


class PodTrouble(TobikoFacadeError):
    """Why a pod did not do its work, in a sentence."""


class PodOver(Exception):
    """The container has ended by itself, and its log is read."""


class WatchedPodClient(PipesK8sClient):
    """Follows the pod's log and state at once, until the pod is over. One launch."""

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
        # How it went: an exit code where the container has ended by itself, else what else happened.
        self.exit_code: int | None = None
        self.trouble: PodTrouble | None = None
        self.is_deleted = False

    def stop(self) -> None:
        """Ends the watch, and with it the pod."""
        self._stopped.set()
        self._woken.set()

    def consume_pod_logs(  # type: ignore[override]  # takes what either version of dagster-k8s gives
        self,
        context: Any,  # noqa: ARG002
        client: Any,
        namespace: str,
        pod_name: str,
        **_: Any,
    ) -> NoReturn:
        """In the place of the stock client's, between creating the pod and deleting it.

        Always raises, past the stock client's wait for the pod's end: it would wait for each container that somebody
        put beside ours.
        """
        self._core_api, self.namespace, self.pod = client.core_api, namespace, pod_name
        self._say(logging.INFO, f"launched in pod {pod_name}, namespace {namespace}")
        for name in clear_leftovers(client.core_api, namespace, self._instance):
            self._say(logging.INFO, f"deleted the pod {name}, which the killed worker of an ended run had left")
        over = Flag()
        follower = Thread(
            target=self._reader.follow,
            args=(client.core_api, namespace, pod_name, self._container, over, self._woken.set),
            daemon=True,
        )
        try:
            self.exit_code = self._watch(follower)
        except PodTrouble as trouble:
            self.trouble = trouble
            raise
        finally:
            over.set()
            if follower.ident and not self._stopped.is_set():
                follower.join(DRAIN_LIMIT_S)
        if self._reader.is_incomplete or follower.is_alive():
            self.trouble = PodTrouble("the API server did not give the end of the pod's log")
            raise self.trouble
        raise PodOver

    def delete(self) -> None:
        """As often as it takes: a pod that is left over goes on."""
        why: Any = None
        for attempt in range(3):
            if self.is_deleted or not self.pod:
                return
            try:
                self._core_api.delete_namespaced_pod(self.pod, self.namespace, _request_timeout=CALL_LIMIT_S)
                self.is_deleted = True
                return
            except ApiException as error:
                if error.status == 404:
                    self.is_deleted = True
                    return
                why = sentence(error)
                if error.status == 403:
                    break
            except (urllib3.exceptions.HTTPError, OSError) as error:
                why = error
            time.sleep(0.5 * 2**attempt)
        self._say(logging.WARNING, f"the pod {self.pod} in namespace {self.namespace} is left over: {why}")

    def _watch(self, follower: Thread) -> int | None:
        """The exit code, when the container has ended and no more is to be said of it."""
        began = time.monotonic()
        stuck_since: float | None = None
        cause: str | None = None
        cause_since = 0.0
        told: set[str] = set()
        seen = False
        while True:
            self._woken.clear()
            if self._stopped.is_set():
                raise PodTrouble("stopped")
            if self._reader.refused:
                raise PodTrouble(sentence(self._reader.refused))
            pod = self._look()
            now = time.monotonic()
            if pod is None and (seen or now - began > DELETION_LIMIT_S):
                raise PodTrouble(cause or DELETED)
            state = state_of(pod, self._container) if pod else PodState()
            seen = seen or pod is not None
            if (state.started or state.over) and not follower.ident:
                follower.start()
            if state.cause and not cause:
                cause, cause_since = state.cause, now
            if state.over or (cause and now - cause_since > DELETION_LIMIT_S):
                if cause:
                    raise PodTrouble(cause)
                return state.exit_code
            if not state.started:
                stuck_since = (stuck_since or now) if state.is_stuck else None
                waits_for = state.waits_for or "its container is being created"
                if state.is_hopeless or (stuck_since and now - stuck_since >= STUCK_LIMIT_S):
                    raise PodTrouble(f"the pod cannot start: {waits_for}{self._warnings()}")
                if now - began > self._start_limit_s:
                    raise PodTrouble(
                        f"the pod has not started within {self._start_limit_s:.0f} s: {waits_for}{self._warnings()}"
                    )
                if state.waits_for and waits_for not in told:
                    told.add(waits_for)
                    self._say(logging.WARNING, f"the pod {self.pod} waits: {waits_for}")
            interval = float(self.poll_interval)
            limit = (
                ENDING_LOOK_INTERVAL_S if cause else interval if state.started else LONGEST_LOOK_INTERVAL_BEFORE_START_S
            )
            self._woken.wait(min(interval, limit))

    def _look(self) -> Any:
        while True:
            try:
                found = self._core_api.list_namespaced_pod(
                    self.namespace, field_selector=f"metadata.name={self.pod}", _request_timeout=CALL_LIMIT_S
                ).items
                self._outage_since = None
                return found[0] if found else None
            except ApiException as error:
                if error.status in (403, 404):
                    raise PodTrouble(sentence(error)) from None
                self._bear(sentence(error), NOT_LET_IN_LIMIT_S if error.status == 401 else API_OUTAGE_LIMIT_S)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self._bear(sentence(error), API_OUTAGE_LIMIT_S)

    def _bear(self, why: str, limit_s: float) -> None:
        """The API server may be away for a while: an upgrade takes minutes, and the pod goes on."""
        now = time.monotonic()
        self._outage_since = self._outage_since or now
        if self._stopped.is_set() or now - self._outage_since > limit_s:
            raise PodTrouble(f"the pod cannot be looked at, for {now - self._outage_since:.0f} s now: {why}")
        self._stopped.wait(min(5.0, float(self.poll_interval)))

    def _warnings(self) -> str:
        """The last of Kubernetes' events that warn of this pod."""
        try:
            events = self._core_api.list_namespaced_event(
                self.namespace, field_selector=f"involvedObject.name={self.pod}", _request_timeout=CALL_LIMIT_S
            ).items
        except ApiException as error:
            return f" (its events cannot be read: {sentence(error)})"
        except (urllib3.exceptions.HTTPError, OSError):
            return ""
        texts = [f"{event.reason}: {event.message}" for event in events if event.type == "Warning"]
        return "".join(f"; {text}" for text in list(dict.fromkeys(texts))[-3:])

    def _say(self, level: int, text: str) -> None:
        self._reader.events.put(Said(level, text))


def sentence(error: BaseException) -> str:
    """What went wrong with a call, without the headers that the client's own text carries."""
    if isinstance(error, ApiException):
        said = _told_by_server(error)
        if error.status == 403 and "is forbidden" in said and "cannot" in said:
            return f"{said}: {_ROLE}"
        return f"the Kubernetes API answers {error.status}: {said}" if error.status else said
    if isinstance(error, urllib3.exceptions.MaxRetryError):
        return f"the Kubernetes API cannot be reached: {error.reason}"
    return str(error) or type(error).__name__


def _told_by_server(error: ApiException) -> str:
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else error.body
    try:
        told = json.loads(body or "")
    except ValueError:
        told = None
    if isinstance(told, Mapping) and told.get("message"):
        return str(told["message"])
    return str(body or error.reason or "no reason given").strip()[:500]
