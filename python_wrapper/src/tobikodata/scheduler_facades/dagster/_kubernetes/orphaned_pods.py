"""Deletes what killed run workers have left: pods whose Dagster run has finished."""

from __future__ import annotations

from typing import Any

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException  # type: ignore[import-untyped]

import dagster as dg

from .._launch import executable

COMPONENT_LABEL = "app.kubernetes.io/component"
RUN_ID_LABEL = "dagster/run-id"
CALL_LIMIT_S = 10


def delete_orphaned_pods(core_api: Any, namespace: str, instance: dg.DagsterInstance) -> list[str]:
    """Returns the names of the deleted pods. Pods of other Dagster instances, whose runs are unknown here, stay."""
    deleted = []
    try:
        pods = core_api.list_namespaced_pod(
            namespace, label_selector=f"{COMPONENT_LABEL}={executable.NAME}", _request_timeout=CALL_LIMIT_S
        ).items
        for pod in pods:
            run_id = (pod.metadata.labels or {}).get(RUN_ID_LABEL)
            run = instance.get_run_by_id(run_id) if run_id and not pod.metadata.deletion_timestamp else None
            if run and run.is_finished:
                core_api.delete_namespaced_pod(pod.metadata.name, namespace, _request_timeout=CALL_LIMIT_S)
                deleted.append(pod.metadata.name)
    except (ApiException, urllib3.exceptions.HTTPError, OSError):
        pass  # the next launch will do it
    return deleted
