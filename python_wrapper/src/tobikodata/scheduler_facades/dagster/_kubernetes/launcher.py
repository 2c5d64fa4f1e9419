"""Runs the executable in a pod of its own, through Dagster's Kubernetes Pipes client (extra `[k8s]`)."""

from __future__ import annotations

import json
import logging
import os
import sys
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread
from typing import IO, TYPE_CHECKING, Any, Callable
from urllib.parse import urlsplit

from .._errors import TobikoFacadeError
from .._events.messages import LogLine
from .._launch import executable
from .._launch.connection import Connection
from .._launch.launcher import Launched, Launcher, SessionContext

if TYPE_CHECKING:
    from .pod_client import WatchedPodClient
    from .pod_reader import PodReader

STOP_LIMIT_S = 8.0
# Compressed as Pipes does it; the rest of the context is small.
MAX_EXTRAS_BYTES = 120 * 1024

# Variables of this process that are passed to the pod: settings, no secrets.
PASSED_ON = (
    "TCLOUD_TOKEN_URL",
    "TCLOUD_SCOPE",
    "TOBIKO_FACADE_POLL_INTERVAL_S",
    "TOBIKO_FACADE_GIVE_UP_AFTER_S",
    "TOBIKO_FACADE_CALL_LIMIT_S",
    "TOBIKO_FACADE_REQUEST_LIMIT_S",
)


class KubernetesLauncher(Launcher):
    """Runs the sync and mirror jobs' executable in a pod. Names are those of `dagster_k8s.PipesK8sClient`.

    Args:
        image: An image with `tobiko-facade` on its PATH: that of this project, or your own with this package.
        namespace: Where the pods are created. Default: that of the launching process, else "default".
        secret_name: A Secret whose keys become the pod's environment: TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET.
            Of the arguments of SQLMeshEnterpriseDagster, only the URL goes into the pod.
        base_pod_spec: Merged over the default spec, which is locked down; keys in snake or camel case. The first
            container is the executable's.
        base_pod_meta: The pods' labels and annotations.
        env: More variables for the executable. No secrets: everyone who may read pods can read them.
        poll_interval: Seconds between two requests for the state of the pod. Messages of the executable are streamed.
        start_timeout: Seconds that a pod may take to start; allow for the time to add a node.
        load_incluster_config: As of PipesK8sClient.
        kubeconfig_file: As of PipesK8sClient.
        kube_context: As of PipesK8sClient.

    Raises:
        TobikoFacadeError: dagster-k8s is not installed, or an argument is not valid in Kubernetes.
    """

    def __init__(
        self,
        image: str,
        *,
        namespace: str | None = None,
        secret_name: str | None = None,
        base_pod_spec: Mapping[str, Any] | None = None,
        base_pod_meta: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
        poll_interval: float = 2.0,
        start_timeout: float = 600.0,
        load_incluster_config: bool | None = None,
        kubeconfig_file: str | None = None,
        kube_context: str | None = None,
    ) -> None:
        if find_spec("dagster_k8s") is None:
            raise TobikoFacadeError(
                "KubernetesLauncher needs dagster-k8s, which is not installed: install this package's wheel with its "
                'extra, `pip install "$(ls dist/*.whl)[k8s]"`'
            )
        from . import pod_spec

        if not image:
            raise TobikoFacadeError("KubernetesLauncher was given no image")
        self.image = image
        self.namespace = namespace
        self.secret_name = secret_name
        self._spec = pod_spec.checked_spec(base_pod_spec)
        self._meta = pod_spec.checked_meta(base_pod_meta)
        self._env = dict(env or {})
        pod_spec.refuse_secrets(self._env, "env")
        self._start_timeout = start_timeout
        self._options = {
            "poll_interval": float(poll_interval),
            "load_incluster_config": load_incluster_config,
            "kubeconfig_file": kubeconfig_file,
            "kube_context": kube_context,
        }

    @contextmanager
    def launch(
        self,
        connection: Connection,
        arguments: Sequence[str],
        context: Any,
        *,
        nodes: Sequence[str] | None = None,
        stdout: Sequence[IO[str]] = (),  # noqa: ARG002  # a pod's log does not say which stream a line is from
        stderr: Sequence[IO[str]] = (),
    ) -> Iterator[Launched]:
        from . import pod_spec
        from .pod_client import WatchedPodClient
        from .pod_reader import PodReader

        output = _Output([sys.stderr, *stderr], connection.redact)
        reader = PodReader(output)
        spec = pod_spec.pod_spec(self._spec, self.image, [executable.NAME, *arguments], self.secret_name)
        client = WatchedPodClient(
            reader, spec["containers"][0]["name"], self._start_timeout, context.instance, **self._options
        )
        launched = _Pod(client, reader, output, context.log)
        launched.start(
            context=SessionContext(context, log=_QueueLog(reader)),
            namespace=self.namespace,
            env={**self._environ(connection), **self._env},
            base_pod_meta=self._meta_of(context),
            base_pod_spec=spec,
            extras=_extras(nodes),
        )
        try:
            yield launched
        finally:
            launched.stop()

    def _environ(self, connection: Connection) -> dict[str, str]:
        given = {name: value for name in PASSED_ON if (value := os.environ.get(name))}
        # A URL with a password belongs in the Secret.
        return given if urlsplit(connection.base_url).password else {**given, "TCLOUD_BASE_URL": connection.base_url}

    def _meta_of(self, context: Any) -> dict[str, Any]:
        from .orphaned_pods import COMPONENT_LABEL, RUN_ID_LABEL

        labels = {
            COMPONENT_LABEL: executable.NAME,
            RUN_ID_LABEL: context.run_id,
            **(self._meta.get("labels") or {}),
        }
        return {**self._meta, "labels": labels}

    def __repr__(self) -> str:
        return f"KubernetesLauncher({self.image!r}, namespace={self.namespace!r})"


def _extras(nodes: Sequence[str] | None) -> dict[str, Any]:
    """For the Pipes context, which goes into the pod as a variable: Linux limits it to 128 KiB.

    Without the names, the executable cannot report on nodes that the job knows and the cloud no longer does.
    """
    extras = {"nodes": list(nodes or ())}
    packed = zlib.compress(json.dumps(extras).encode())
    return extras if nodes and len(packed) * 4 // 3 < MAX_EXTRAS_BYTES else {}


class _Pod(Launched):
    """A pod. Dagster's client waits for its end in a thread of its own."""

    def __init__(self, client: WatchedPodClient, reader: PodReader, output: _Output, log: Any) -> None:
        super().__init__(reader, log)
        self._client = client
        self._output = output
        self._thread: Thread | None = None
        self._error: BaseException | None = None

    def start(self, **arguments: Any) -> None:
        self._thread = Thread(target=self._run, kwargs=arguments, daemon=True)
        self._thread.start()

    def incomplete_reason(self) -> str | None:
        """The executable may have reported that it was interrupted: Kubernetes knows why."""
        if self.finished and not self.finished.is_complete and self._client.error:
            return self.exit_description()
        return super().incomplete_reason()

    def exit_description(self) -> str:
        where = f"pod {self._client.pod}, namespace {self._client.namespace}"
        if self._client.error:
            return self._output.redact(f"{self._client.error} ({where})")
        code = self._client.exit_code
        if code is None:
            what = f"the end of {where} was not observed" if self._client.pod else "no pod could be created"
            return self._output.redact(f"{what}: {_describe_error(self._error)}")
        ended_by_signal = code > 128
        return self._output.redact(
            executable.describe_exit(
                f"{executable.NAME} in {where}", 128 - code if ended_by_signal else code, self._output.tail()
            )
        )

    def stop(self) -> None:
        self._client.stop()
        if self._thread:
            self._thread.join(STOP_LIMIT_S)
            if self._thread.is_alive():  # a call hangs
                self._client.delete()

    def _has_ended(self) -> bool:
        return self._thread is None or not self._thread.is_alive()

    def _run(self, **arguments: Any) -> None:
        from .pod_client import ContainerExited

        try:
            self._client.run(**arguments)
        except ContainerExited:
            pass
        except BaseException as error:
            self._error = error
            self._client.delete()


class _Output:
    """The lines that the executable prints into the pod's log."""

    def __init__(self, targets: Sequence[IO[str]], redact: Callable[[str], str]) -> None:
        self._targets = targets
        self._last: deque[str] = deque(maxlen=40)
        self.redact = redact

    def __call__(self, line: str) -> None:
        self._last.append(line)
        for target in self._targets:
            try:
                target.write(self.redact(line) + "\n")
                target.flush()
            except (OSError, ValueError):  # closed, or a full disk: the reader must not wait for it
                continue

    def tail(self) -> str:
        return "\n".join(self._last)


class _QueueLog:
    """The part of Dagster's log that a Pipes session uses; its lines go through the queue."""

    def __init__(self, reader: PodReader) -> None:
        self._reader = reader

    def info(self, text: str, *_: Any, **__: Any) -> None:
        self._reader.events.put(LogLine(logging.INFO, text))

    def warning(self, text: str, *_: Any, **__: Any) -> None:
        if not text.startswith("[pipes] did not receive"):  # the launcher logs the reason
            self._reader.events.put(LogLine(logging.WARNING, text))


def _describe_error(error: BaseException | None) -> str:
    from .pod_client import describe_error

    return describe_error(error) if error else "no reason given"
