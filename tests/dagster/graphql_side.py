"""Asks Dagster's GraphQL, as its pages do, about a file with definitions."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster_graphql.schema import create_schema


def ask(instance: dg.DagsterInstance, file: Path, query: str, **variables: Any) -> str:
    """The answer as text. Starts a code server for it."""
    target = PythonFileTarget(
        python_file=str(file), attribute=None, working_directory=str(file.parent), location_name="location"
    )
    with WorkspaceProcessContext(instance, target) as process_context:
        context = process_context.create_request_context()
        asked = create_schema().execute_async(query, context_value=context, variable_values=variables)
        result = asyncio.run(asked)
    assert not result.errors, result.errors
    return json.dumps(result.data)
