"""The command line: SQLMesh's own, recorded."""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ._guard import safely
from ._hooks import install, sanitized
from ._process import open_recording, process
from ._project import project_fields, project_fields_of_files
from ._wrapping import Call, Hook, wrap

USAGE = """\
usage: python -m tobikodata.sqlmesh_recorder [--project-name NAME] COMMAND ...

Runs `sqlmesh COMMAND ...` and records its runs and plans in the local cloud (`tobiko-facade serve`) at
TCLOUD_BASE_URL. For example:

  TCLOUD_BASE_URL=http://127.0.0.1:8765 python -m tobikodata.sqlmesh_recorder run

--project-name (or TOBIKO_PROJECT_NAME) names the project, where several share one server. By default, it is the
`project` setting of SQLMesh's configuration. While the server is unreachable, the records wait in a spool file.
`... --help` prints SQLMesh's own help.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs `sqlmesh ARGUMENTS`, recorded. SQLMesh usually ends the process itself, with its own exit code.

    Returns: the exit code; 1 if SQLMesh can't be imported, 2 if the recorder's own option is wrong.
    """
    project_name, arguments = _split_off_project_name(arguments)
    if project_name == "":
        sys.stderr.write("error: --project-name needs a name\n")
        return 2
    if project_name is not None:
        os.environ["TOBIKO_PROJECT_NAME"] = project_name
    if not arguments:
        sys.stdout.write(USAGE)
        return 0
    try:
        sqlmesh = importlib.import_module("sqlmesh.cli.main")
    except ImportError as error:
        sys.stderr.write(f"error: SQLMesh can't be imported in this Python environment ({error})\n")
        return 1
    sys.argv = ["sqlmesh", *arguments]
    install()
    if process.is_installed:
        safely(wrap, Hook("sqlmesh.core.context", "GenericContext", "__init__", _remember_configs, _ignore))
    try:
        sqlmesh.cli(prog_name="sqlmesh")  # as its own command calls itself
    except BaseException as error:
        if process.is_installed and not process.has_started_operation:
            safely(_record_failed_start, sqlmesh.cli, arguments, error)
        raise
    finally:
        if process.lacks_settings:
            sys.stderr.write("sqlmesh_recorder: nothing was recorded, TCLOUD_BASE_URL is not set\n")
    return 0


def _split_off_project_name(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of a leading `--project-name`, and the other arguments."""
    first, *others = arguments or [""]
    if first == "--project-name":
        return (others[0], others[1:]) if others else ("", [])
    if first.startswith("--project-name="):
        return first.partition("=")[2], others
    return None, list(arguments)


def _remember_configs(call: Call) -> None:
    process.configs = call.kwargs.get("config")


def _ignore(*_: Any) -> None:
    pass


@dataclass(frozen=True)
class _Command:
    """A `sqlmesh` command line, as its parser understands it."""

    name: str
    environment: str
    folders: Sequence[str]
    gateway: str | None
    is_applied: bool


def _record_failed_start(cli: Any, arguments: Sequence[str], error: BaseException) -> None:
    """Records a run or plan that failed before SQLMesh could start it: no state, no project, a broken configuration."""
    cause = _cause_of_exit(error)
    if cause is None:
        return
    command = _parse(cli, arguments)
    if command.name not in ("run", "plan") or not command.is_applied:
        return
    if isinstance(process.configs, dict) and process.configs:
        project: dict[str, Any] | None = project_fields(process.configs, command.gateway)
    else:
        project = project_fields_of_files(command.folders, command.gateway)
    recording = open_recording(command.name, uuid.uuid4().hex, project) if project is not None else None
    if recording is not None:
        recording.environment = sanitized(command.environment)
        recording.end(True, cause)


def _cause_of_exit(error: BaseException) -> Exception | None:
    """The exception that ended the command; None if it succeeded, was wrong, or was aborted by the user."""
    if isinstance(error, Exception):
        return error
    if not isinstance(error, SystemExit) or error.code in (0, None):
        return None
    cause = error.__cause__ or error.__context__
    names = {kind.__name__ for kind in type(cause).__mro__}
    if names & {"UsageError", "Abort", "Exit"}:  # click's
        return None
    return cause if isinstance(cause, Exception) else None


def _parse(cli: Any, arguments: Sequence[str]) -> _Command:
    group = cli.make_context("sqlmesh", list(arguments), resilient_parsing=True)
    rest = [*(getattr(group, "_protected_args", None) or getattr(group, "protected_args", [])), *group.args]
    name, own = rest[0], rest[1:]
    parameters = cli.commands[name].make_context(name, own, parent=group, resilient_parsing=True).params
    return _Command(
        name,
        parameters.get("environment") or "prod",
        group.params.get("paths") or ["."],
        group.params.get("gateway"),
        is_applied=not parameters.get("explain"),
    )
