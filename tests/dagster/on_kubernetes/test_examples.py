"""The example's files fit together."""

from __future__ import annotations

import runpy
from typing import Any

import pytest
import yaml
from api_server import EXAMPLES, ROLE
from recorded_cloud import Cloud, model


def test_the_code_location_loads_and_asks_for_pods(cloud: Cloud) -> None:
    cloud.environment(model("a"))
    found = runpy.run_path(str(EXAMPLES / "definitions.py"))
    assert found["defs"].get_job_def("tobiko_cloud_mirror_run_prod")
    launcher = found["sqlmesh"]._launcher
    secret = document("secret.yaml")
    assert launcher.secret_name == secret["metadata"]["name"]
    assert launcher.namespace == document("namespace.yaml")["metadata"]["name"] == secret["metadata"]["namespace"]
    (deployment,) = document("values.yaml")["dagster-user-deployments"]["deployments"]
    assert [each["name"] for each in deployment["envSecrets"]] == [launcher.secret_name]


def test_a_reload_renews_the_code_server_of_the_values() -> None:
    """That of `dagster api grpc` answers a reload and loads nothing anew."""
    (deployment,) = document("values.yaml")["dagster-user-deployments"]["deployments"]
    assert "dagsterApiGrpcArgs" not in deployment
    assert deployment["codeServerArgs"][0] == "--python-file"


@pytest.mark.parametrize("file", ["namespace.yaml", "secret.yaml", "values.yaml"])
def test_a_file_is_one_document(file: str) -> None:
    assert isinstance(document(file), dict)


def test_the_role_holds_no_more_than_is_used() -> None:
    assert sorted(ROLE) == [
        ("create", "pods"),
        ("delete", "pods"),
        ("get", "pods/log"),
        ("list", "events"),
        ("list", "pods"),
    ]


def document(file: str) -> dict[str, Any]:
    (found,) = yaml.safe_load_all((EXAMPLES / file).read_text())
    return dict(found)
