"""Fixtures: a cluster, with a local cloud that its pods can reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from api_server import ApiServer
from cluster import REAL, Cluster
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud

IMAGE = "tobiko-facade:test"


@pytest.fixture
def cluster(executable: str, tmp_path: Path) -> Iterator[Cluster]:
    if REAL:
        cluster = Cluster(Path(REAL), os.environ["KUBERNETES_TEST_IMAGE"], None)
        cluster.clear()
        yield cluster
        cluster.clear()
        return
    server = ApiServer({IMAGE: Path(executable).parent})
    yield Cluster(server.kubeconfig(tmp_path / "kubeconfig"), IMAGE, server)
    server.stop()


@pytest.fixture
def stand_in(cluster: Cluster) -> ApiServer:
    """For what a real cluster does not do on request."""
    if cluster.stand_in is None:
        pytest.skip("only with the cluster that stands in")
    return cluster.stand_in


@pytest.fixture
def kube_cloud(locked_cloud: Cloud, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud that requires an OAuth client, which the cluster's Secret holds."""
    cluster.secret(TCLOUD_CLIENT_ID=CLIENT_ID, TCLOUD_CLIENT_SECRET=CLIENT_SECRET)
    return locked_cloud


@pytest.fixture
def load_on(load: Callable[..., Any], cluster: Cluster) -> Callable[..., Any]:
    """Definitions whose jobs run in pods. Loading happens here, as always."""

    def load_on(launcher: dict[str, Any] | None = None, **facade: Any) -> Any:
        return load({"launcher": cluster.launcher(**(launcher or {})), **facade})

    return load_on
