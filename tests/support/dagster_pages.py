"""Asks Dagster's GraphQL, as its pages do, about a file with definitions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import dagster as dg
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster_graphql.schema import create_schema

try:
    from dagster._core.remote_origin import InProcessCodeLocationOrigin
except ImportError:  # 1.9.1
    from dagster._core.remote_representation.origin import InProcessCodeLocationOrigin

Ask = Callable[..., dict[str, Any]]


@contextmanager
def pages(instance: dg.DagsterInstance, file: Path, has_server: bool = True) -> Iterator[Ask]:
    """Loads the file, in a code server or in this process, and asks as often as wanted; an answer is the data."""
    target: Any = PythonFileTarget(
        python_file=str(file), attribute=None, working_directory=str(file.parent), location_name="location"
    )
    if not has_server:
        origin = LoadableTargetOrigin(python_file=str(file), working_directory=str(file.parent))
        target = InProcessTestWorkspaceLoadTarget(InProcessCodeLocationOrigin(origin, location_name="location"))
    schema = create_schema()
    with WorkspaceProcessContext(instance, target) as process_context:

        def ask(query: str, **variables: Any) -> dict[str, Any]:
            context = process_context.create_request_context()
            result = asyncio.run(schema.execute_async(query, context_value=context, variable_values=variables))
            assert not result.errors, result.errors
            data: dict[str, Any] = result.data
            return data

        yield ask


def ask(instance: dg.DagsterInstance, file: Path, query: str, **variables: Any) -> str:
    """One answer, as text."""
    with pages(instance, file) as asked:
        return json.dumps(asked(query, **variables))
