"""What Kubernetes reports of a pod, and what that means for a job. Pure: no call is made here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Normal reasons for a container to wait.
_NORMAL = {None, "", "PodInitializing", "ContainerCreating"}
# Waiting does not help.
_FINAL = {"InvalidImageName", "ErrImageNeverPull"}

_ADVICE = {
    "InvalidImageName": "check the image that KubernetesLauncher was given",
    "ErrImageNeverPull": "load the image onto the node, or change imagePullPolicy in base_pod_spec",
    "ErrImagePull": "check the image that KubernetesLauncher was given, and imagePullSecrets",
    "ImagePullBackOff": "check the image that KubernetesLauncher was given, and imagePullSecrets",
    "CreateContainerConfigError": "create what is missing, or correct secret_name and base_pod_spec",
}


@dataclass(frozen=True)
class PodState:
    """`cause`: why the pod ended or is about to end, where Kubernetes knows more than the exit code shows."""

    started: bool = False
    over: bool = False
    exit_code: int | None = None
    cause: str | None = None
    waits_for: str | None = None
    is_stuck: bool = False
    is_hopeless: bool = False


def state_of(pod: Any, container: str) -> PodState:
    """From a V1Pod, as listed."""
    status = pod.status
    own = next((s for s in status.container_statuses or [] if s.name == container), None)
    state = own.state if own else None
    terminated = state.terminated if state else None
    cause = _cause(pod, terminated, container)
    if terminated:
        return PodState(started=True, over=True, exit_code=terminated.exit_code, cause=cause)
    if status.phase in ("Failed", "Succeeded"):
        return PodState(over=True, cause=cause or _of_another_container(status) or "the pod ended before it ran")
    if state and state.running:
        return PodState(started=True, cause=cause)
    waiting = state.waiting if state else None
    reason = waiting.reason if waiting else None
    if waiting is None or reason in _NORMAL:
        return PodState(cause=cause, waits_for=_unscheduled(status))
    advice = f": {_ADVICE[reason]}" if reason in _ADVICE else ""
    return PodState(
        cause=cause,
        waits_for=f"{_joined(reason, waiting.message)}{advice}",
        is_stuck=True,
        is_hopeless=reason in _FINAL,
    )


def _cause(pod: Any, terminated: Any, container: str) -> str | None:
    status = pod.status
    if terminated and terminated.reason == "OOMKilled":
        limit = _memory_limit(pod, container)
        of_limit = f", its limit is {limit}" if limit else ""
        return (
            f"the container was killed because it ran out of memory (OOMKilled{of_limit}): "
            "raise resources.limits.memory in base_pod_spec"
        )
    if status.phase == "Failed" and status.reason:
        return _ended_by_kubernetes(status.reason, status.message)
    if pod.metadata.deletion_timestamp:
        disrupted = next(
            (c for c in status.conditions or [] if c.type == "DisruptionTarget" and c.status == "True"), None
        )
        if disrupted:
            return _ended_by_kubernetes(disrupted.reason, disrupted.message)
        return DELETED
    if terminated and terminated.reason in ("ContainerCannotRun", "StartError"):
        return f"the container could not be started: {_joined(terminated.reason, terminated.message)}"
    return None


DELETED = "the pod was deleted from outside, not by Dagster"


def _ended_by_kubernetes(reason: str, message: str | None) -> str:
    verb = "evicted" if reason.startswith("Evict") else "ended"
    return f"Kubernetes {verb} the pod ({_joined(reason, message)})"


def _of_another_container(status: Any) -> str | None:
    for other in [*(status.init_container_statuses or []), *(status.container_statuses or [])]:
        ended = other.state.terminated if other.state else None
        if ended and ended.exit_code:
            said = f" ({_joined(ended.reason, ended.message)})" if ended.reason else ""
            return f"the container {other.name} exited with code {ended.exit_code}{said}"
    return None


def _unscheduled(status: Any) -> str | None:
    for condition in status.conditions or []:
        if condition.type == "PodScheduled" and condition.status == "False":
            return _joined(condition.reason, condition.message)
    return None


def _memory_limit(pod: Any, container: str) -> str | None:
    for spec in pod.spec.containers:
        if spec.name == container and spec.resources and spec.resources.limits:
            limit: str | None = spec.resources.limits.get("memory")
            return limit
    return None


def _joined(reason: str | None, message: str | None) -> str:
    return ": ".join(part.strip() for part in (reason, message) if part and part.strip()) or "no reason given"
