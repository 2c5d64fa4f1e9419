"""A pod as a local process: with the user, the environment and the process id 1 that its spec says."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from container_log import ContainerLog

BACK_OFF_S = 0.5
# A deleted pod is still listed while its node cleans up.
LINGER_S = 1.0


class Pod:
    def __init__(
        self,
        namespace: str,
        body: dict[str, Any],
        images: dict[str, Path],
        secrets: dict[tuple[str, str], dict[str, str]],
    ) -> None:
        self.namespace = namespace
        self.name: str = body["metadata"]["name"]
        self.body = body
        self.log = ContainerLog()
        self._images = images
        self._secrets = secrets
        self._spec = body["spec"]["containers"][0]
        self.container: str = self._spec["name"]
        self.waiting_reason: str | None = "ContainerCreating"
        self._waiting_message: str | None = None
        self._terminated: dict[str, Any] | None = None
        self._phase_reason: tuple[str, str] | None = None
        self._disruption: tuple[str, str] | None = None
        self._deleted_at: str | None = None
        self._oom = False
        self._killed = False
        self._events: list[tuple[str, str, str]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._remove: Callable[[], object] = lambda: None
        self.pid: int | None = None

    def start(self, remove: Callable[[], object]) -> None:
        self._remove = remove
        threading.Thread(target=self._live, daemon=True).start()
        deadline = self.body["spec"].get("activeDeadlineSeconds")
        if deadline:
            timer = threading.Timer(deadline, self._too_late)
            timer.daemon = True
            timer.start()

    @property
    def running(self) -> bool:
        return self.pid is not None and self._terminated is None

    def delete(self) -> None:
        if self._deleted_at is None:
            self._deleted_at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
            threading.Thread(target=self._end, daemon=True).start()

    def evict_by_api(self) -> None:
        """As `kubectl drain` does."""
        self._disruption = ("EvictionByEvictionAPI", "Eviction API: evicting")
        self.delete()

    def evict(self) -> None:
        """As a kubelet does whose node runs out of memory."""
        message = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 91Mi."
        self._phase_reason = ("Evicted", message)
        self._events.append(("Warning", "Evicted", message))
        self._signal(signal.SIGKILL)

    def out_of_memory(self) -> None:
        self._oom = True
        self._signal(signal.SIGKILL)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def events(self) -> list[dict[str, Any]]:
        return [
            {
                "metadata": {"name": f"{self.name}.{number}", "namespace": self.namespace},
                "involvedObject": {"kind": "Pod", "name": self.name, "namespace": self.namespace},
                "type": kind,
                "reason": reason,
                "message": message,
                "count": 1,
            }
            for number, (kind, reason, message) in enumerate(self._events)
        ]

    def json(self) -> dict[str, Any]:
        metadata = {**self.body["metadata"], "namespace": self.namespace, "uid": str(uuid.uuid4())}
        if self._deleted_at:
            metadata["deletionTimestamp"] = self._deleted_at
        if self._terminated:
            state: dict[str, Any] = {"terminated": self._terminated}
            phase = "Succeeded" if self._terminated["exitCode"] == 0 else "Failed"
        elif self.waiting_reason:
            state = {"waiting": {"reason": self.waiting_reason, "message": self._waiting_message}}
            phase = "Pending"
        else:
            state, phase = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}, "Running"
        status: dict[str, Any] = {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {
                    "name": self.container,
                    "image": self._spec["image"],
                    "imageID": "",
                    "ready": "running" in state,
                    "restartCount": 0,
                    "state": state,
                    "lastState": {},
                }
            ],
        }
        if self._phase_reason and (self._terminated or not self.pid):
            status["phase"] = "Failed"
            status["reason"], status["message"] = self._phase_reason
        if self._disruption:
            reason, message = self._disruption
            status["conditions"].append(
                {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
            )
        return {**self.body, "kind": "Pod", "apiVersion": "v1", "metadata": metadata, "status": status}

    def _live(self) -> None:
        """What a kubelet does with a pod: the image, the environment, the process."""
        while self._deleted_at is None:
            folder = self._images.get(self._spec["image"])
            if folder is None:
                self._back_off()
                continue
            environ = self._environ()
            if environ is None:
                time.sleep(0.1)
                continue
            self._run(folder, environ)
            return

    def _back_off(self) -> None:
        image = self._spec["image"]
        message = f'failed to resolve reference "{image}": {image}: not found'
        self.waiting_reason, self._waiting_message = "ErrImagePull", message
        self._events.append(("Warning", "Failed", f'Failed to pull image "{image}": {message}'))
        time.sleep(BACK_OFF_S)
        self.waiting_reason, self._waiting_message = "ImagePullBackOff", f'Back-off pulling image "{image}"'
        time.sleep(BACK_OFF_S)

    def _environ(self) -> dict[str, str] | None:
        environ: dict[str, str] = {"PATH": "/usr/bin:/bin", "HOSTNAME": self.name}
        for source in self._spec.get("envFrom") or []:
            name = source["secretRef"]["name"]
            secret = self._secrets.get((self.namespace, name))
            if secret is None:
                message = f'secret "{name}" not found'
                self._events.append(("Warning", "Failed", f"Error: {message}"))
                self.waiting_reason, self._waiting_message = "CreateContainerConfigError", message
                return None
            environ.update(secret)
        environ.update({each["name"]: each["value"] for each in self._spec.get("env") or []})
        return environ

    def _run(self, folder: Path, environ: dict[str, str]) -> None:
        command = list(self._spec["command"])
        program = shutil.which(command[0], path=str(folder))
        if program is None:
            message = f'exec: "{command[0]}": executable file not found in $PATH: unknown'
            self._terminated = {"exitCode": 128, "reason": "StartError", "message": message}
            self.waiting_reason = None
            self.log.end()
            return
        process = subprocess.Popen(
            [*self._locked_in(), program, *command[1:]],
            env={**environ, "PATH": f"{folder}:{environ['PATH']}"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._process = process
        self.pid = _inner(process) if self._locked_in() else process.pid
        self.waiting_reason = None
        copies = [
            threading.Thread(target=self.log.copy, args=(stream, now), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for copy in copies:
            copy.start()
        code = process.wait()
        for copy in copies:
            copy.join()
        # `unshare` reports the death of its child in its own way.
        code = 137 if self._killed else 128 - code if code < 0 else code
        reason = "OOMKilled" if self._oom else "Completed" if code == 0 else "Error"
        self._terminated = {"exitCode": code, "reason": reason}
        self.log.end()

    def _locked_in(self) -> list[str]:
        """As process 1 and another user, where this process may do so."""
        if not may_unshare("--pid"):
            return []
        user = str((self.body["spec"].get("securityContext") or {}).get("runAsUser", 0))
        as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]
        return ["unshare", "--pid", "--fork", "--kill-child", *(as_user if user != "0" else [])]

    def _end(self) -> None:
        grace = self.body["spec"].get("terminationGracePeriodSeconds", 30)
        self._signal(signal.SIGTERM)
        until = time.monotonic() + grace
        while self.running and time.monotonic() < until:
            time.sleep(0.02)
        if self.running:
            self._signal(signal.SIGKILL)
        while self.running:
            time.sleep(0.02)
        time.sleep(LINGER_S)
        self._remove()

    def _too_late(self) -> None:
        if self._terminated is None:
            self._phase_reason = ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self.running and self.pid:
            self._killed = self._killed or number == signal.SIGKILL
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def now(plus_s: float = 0.0) -> str:
    """A stamp with nine digits, always."""
    nanoseconds = time.time_ns() + int(plus_s * 1e9)
    second = datetime.fromtimestamp(nanoseconds // 1_000_000_000, timezone.utc)
    return f"{second:%Y-%m-%dT%H:%M:%S}.{nanoseconds % 1_000_000_000:09d}Z"


def _inner(unshare: subprocess.Popen[bytes]) -> int:
    """The child of `unshare`, process 1 of its own name space."""
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")
    while unshare.poll() is None:
        found = children.read_text().split() if children.exists() else []
        if found:
            return int(found[0])
        time.sleep(0.005)
    return unshare.pid


@functools.cache
def may_unshare(what: str) -> bool:
    """Whether this process may create namespaces: root may, unless a container forbids it."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("setpriv"):
        return False
    return subprocess.run(["unshare", what, "--fork", "true"], capture_output=True, check=False).returncode == 0
