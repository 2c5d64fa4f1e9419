"""The arguments of a KubernetesLauncher, and those that it rejects while the code location is loaded."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tobikodata.scheduler_facades.dagster import KubernetesLauncher
from tobikodata.scheduler_facades.dagster._errors import TobikoFacadeError
from tobikodata.scheduler_facades.dagster._kubernetes import launcher as launcher_module
from tobikodata.scheduler_facades.dagster._kubernetes import pod_spec


def spec(**options: Any) -> dict[str, Any]:
    launcher = KubernetesLauncher("image:1", **options)
    return pod_spec.pod_spec(launcher._spec, launcher.image, ["tobiko-facade", "sync"], launcher.secret_name)


def test_without_dagster_k8s_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher_module, "find_spec", lambda _: None)
    with pytest.raises(TobikoFacadeError, match=r'pip install "\$\(ls dist/\*\.whl\)\[k8s\]"'):
        KubernetesLauncher("image:1")


def test_the_users_spec_is_merged_over_the_default_in_either_case() -> None:
    found = spec(
        secret_name="s",
        base_pod_spec={
            "serviceAccountName": "x",
            "node_selector": {"disk": "ssd"},
            "securityContext": {"runAsUser": 1000},
            "containers": [
                {
                    "resources": {"limits": {"memory": "1Gi"}},
                    "envFrom": [{"configMapRef": {"name": "c"}}],
                    "env": [{"name": "A", "value": "b"}],
                },
                {"name": "sidecar", "image": "proxy:1"},
            ],
        },
    )
    assert found["service_account_name"] == "x"
    assert found["node_selector"] == {"disk": "ssd"}
    assert found["security_context"]["run_as_user"] == 1000
    assert found["security_context"]["run_as_non_root"] is True
    first, second = found["containers"]
    assert first["image"] == "image:1"
    assert first["resources"] == {"limits": {"memory": "1Gi"}, "requests": {"cpu": "50m", "memory": "64Mi"}}
    assert first["env_from"] == [{"config_map_ref": {"name": "c"}}, {"secret_ref": {"name": "s"}}]
    assert first["security_context"]["read_only_root_filesystem"] is True
    assert second["name"] == "sidecar"


def test_one_launch_leaves_the_next_untouched() -> None:
    assert spec(base_pod_spec={"containers": [{"env": []}]}) == spec(base_pod_spec={"containers": [{"env": []}]})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": ""}, "no image"),
        ({"base_pod_spec": {"contaners": []}}, "base_pod_spec of KubernetesLauncher"),
        ({"base_pod_meta": {"lables": {}}}, "base_pod_meta of KubernetesLauncher"),
        ({"env": {"TCLOUD_CLIENT_SECRET": "x"}}, "put it into a Kubernetes Secret"),
        (
            {"base_pod_spec": {"containers": [{"env": [{"name": "TCLOUD_TOKEN", "value": "x"}]}]}},
            "put it into a Kubernetes Secret",
        ),
    ],
)
def test_rejected_while_loading(options: dict[str, Any], message: str) -> None:
    with pytest.raises(TobikoFacadeError, match=message):
        KubernetesLauncher(**{"image": "image:1", **options})


def test_no_secret_is_shown() -> None:
    assert repr(KubernetesLauncher("image:1", secret_name="s")) == "KubernetesLauncher('image:1', namespace=None)"


def test_the_names_of_the_nodes_are_passed_on_up_to_linuxs_limit() -> None:
    dice = random.Random(1)
    few, many = ([f"node_{dice.randrange(10**12)}" for _ in range(count)] for count in (3_000, 30_000))
    assert launcher_module._extras(few) == {"nodes": few}
    assert launcher_module._extras(many) == {}
    assert launcher_module._extras(None) == {}
