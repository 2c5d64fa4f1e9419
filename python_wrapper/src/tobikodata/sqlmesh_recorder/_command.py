"""The command line: SQLMesh's own, recorded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from ._hooks import install
from ._process import process

USAGE = """\
usage: python -m tobikodata.sqlmesh_recorder COMMAND ...

Runs `sqlmesh COMMAND ...` and records its runs and plans in the local cloud (`tobiko-facade serve`) at
TCLOUD_BASE_URL. For example:

  TCLOUD_BASE_URL=http://127.0.0.1:8765 python -m tobikodata.sqlmesh_recorder run

While the server is unreachable, the records wait in a spool file. `... --help` prints SQLMesh's own help.
"""


def main(arguments: Sequence[str]) -> int:
    """Runs `sqlmesh ARGUMENTS`, recorded. SQLMesh usually ends the process itself, with its own exit code.

    Returns: the exit code; 1 if SQLMesh can't be imported.
    """
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
    try:
        sqlmesh.cli(prog_name="sqlmesh")  # as its own command calls itself
    finally:
        if process.lacks_settings:
            sys.stderr.write("sqlmesh_recorder: nothing was recorded, TCLOUD_BASE_URL is not set\n")
    return 0
