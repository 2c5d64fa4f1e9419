"""The pod that a KubernetesLauncher creates: a locked-down default with the user's `base_pod_spec` merged over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import kubernetes.client  # type: ignore[import-untyped]
from dagster_k8s.models import k8s_snake_case_dict

from .._errors import TobikoFacadeError

CONTAINER = "tobiko-facade"
SECRET_VARIABLES = ("TCLOUD_TOKEN", "TCLOUD_CLIENT_SECRET")

# Keys in snake case, as dagster-k8s returns the user's.
_LOCKED_DOWN: dict[str, Any] = {
    "restart_policy": "Never",
    "automount_service_account_token": False,
    "enable_service_links": False,
    # The executable exits at once on SIGTERM.
    "termination_grace_period_seconds": 5,
    # How long a pod lives at most if its run worker was killed and its remote run never ends.
    "active_deadline_seconds": 86_400,
    "security_context": {
        "run_as_non_root": True,
        "run_as_user": 65532,
        "run_as_group": 65532,
        "seccomp_profile": {"type": "RuntimeDefault"},
    },
}
_LOCKED_DOWN_CONTAINER: dict[str, Any] = {
    "name": CONTAINER,
    "security_context": {
        "allow_privilege_escalation": False,
        "privileged": False,
        "read_only_root_filesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
}


def checked_spec(base_pod_spec: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's part, with keys in snake case.

    Raises:
        TobikoFacadeError: Kubernetes does not accept it. Raised while loading, not at launch.
    """
    return _snake_case(kubernetes.client.V1PodSpec, base_pod_spec, "base_pod_spec")


def checked_meta(base_pod_meta: Mapping[str, Any] | None) -> dict[str, Any]:
    return _snake_case(kubernetes.client.V1ObjectMeta, base_pod_meta, "base_pod_meta")


def pod_spec(user: Mapping[str, Any], image: str, command: Sequence[str], secret_name: str | None) -> dict[str, Any]:
    """The spec for one launch. The first container is the executable's."""
    spec = _overlay(_LOCKED_DOWN, {name: value for name, value in user.items() if name != "containers"})
    first, *others = user.get("containers") or [{}]
    first = _overlay(_LOCKED_DOWN_CONTAINER, first)
    first["image"] = image
    first["command"] = list(command)
    if secret_name:
        first["env_from"] = [*first.get("env_from", []), {"secret_ref": {"name": secret_name}}]
    spec["containers"] = [first, *deepcopy(others)]
    return spec


def refuse_secrets(given: Mapping[str, Any], where: str) -> None:
    """Raises if a secret is given in plain text: everyone who may read pods reads their spec."""
    for name in SECRET_VARIABLES:
        if given.get(name):
            raise TobikoFacadeError(
                f"{name} is given in {where} of KubernetesLauncher, where everyone who may read pods can read it: "
                "put it into a Kubernetes Secret and pass the name of that as secret_name"
            )


def _snake_case(model: Any, given: Mapping[str, Any] | None, name: str) -> dict[str, Any]:
    try:
        found = dict(k8s_snake_case_dict(model, given or {}))
    except Exception as error:  # dagster-k8s raises plain ones
        raise TobikoFacadeError(f"{name} of KubernetesLauncher is not valid in Kubernetes: {error}") from None
    for container in found.get("containers") or []:
        values = {variable["name"]: variable.get("value") for variable in container.get("env") or []}
        refuse_secrets(values, f"{name}['containers']")
    return found


def _overlay(base: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """A merged copy: objects are merged, any other value of the user's replaces the default."""
    merged = deepcopy(dict(base))
    for name, value in user.items():
        ours = merged.get(name)
        both = isinstance(ours, dict) and isinstance(value, Mapping)
        merged[name] = _overlay(ours, value) if both and ours else deepcopy(value)
    return merged
