"""Finds the executable `tobiko-facade` and runs the commands that print JSON. Knows its command line."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._errors import TobikoFacadeError
from .connection import Connection

NAME = "tobiko-facade"
TIME_LIMIT_S = 20.0

_EXIT_OUTAGE = 3
_EXIT_CODES = {
    2: "it rejected its arguments: the executable and the Python package may be of different releases",
    3: "the cloud cannot be reached or answers with errors",
    4: "authentication failed: check the credentials",
    5: "not found: check the environment and TCLOUD_BASE_URL",
}


def find() -> str:
    """The path: from TOBIKO_FACADE_EXECUTABLE, next to this Python, or on PATH.

    Raises:
        TobikoFacadeError: There is none.
    """
    given = os.environ.get("TOBIKO_FACADE_EXECUTABLE")
    if given:
        found = shutil.which(given)
        if not found:
            raise TobikoFacadeError(
                f"TOBIKO_FACADE_EXECUTABLE names {given!r}, which is not an executable file: correct or unset it"
            )
        return found
    file_name = NAME + (".exe" if os.name == "nt" else "")
    folders = [Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))]
    for folder in folders:
        if os.access(folder / file_name, os.X_OK):
            return str(folder / file_name)
    found = shutil.which(NAME)
    if not found:
        raise TobikoFacadeError(
            f"the executable {NAME} is neither in {folders[0]} nor on PATH: install "
            "tobiko-cloud-scheduler-facade again, or set TOBIKO_FACADE_EXECUTABLE"
        )
    return found


def definitions(connection: Connection, environment: str, asset_prefix: str | None) -> str:
    """The manifest of an environment, as JSON text; the kept one where the cloud gives none.

    Raises:
        TobikoFacadeError: The command failed; `outage` says whether the cloud was unreachable.
    """
    return _ask(connection, ["definitions", "--keep-on-disk", *where(environment, asset_prefix)])


def tick(connection: Connection, environment: str, state: dict[str, Any]) -> dict[str, Any]:
    """What the sensor has to do; `state` is what Dagster knows.

    Raises:
        TobikoFacadeError: The command failed; `outage` says whether the cloud was unreachable.
    """
    text = _ask(connection, ["tick", *where(environment)], json.dumps(state))
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise TobikoFacadeError(f"{NAME} tick did not print a JSON object: {text[:200]!r}")
    return answer


def where(environment: str, asset_prefix: str | None = None) -> list[str]:
    """The arguments that name the environment and the prefix of its assets."""
    prefix = [f"--asset-prefix={asset_prefix}"] if asset_prefix else []
    return [f"--environment={environment}", *prefix]


def cannot_start(path: str, error: OSError) -> TobikoFacadeError:
    """Why the file did not become a process."""
    if error.errno == errno.ENOEXEC:
        return TobikoFacadeError(
            f"{path} is built for another platform than {platform.system()} {platform.machine()}: install "
            "the wheel of tobiko-cloud-scheduler-facade that fits this machine"
        )
    return TobikoFacadeError(f"{path} cannot be started ({error.strerror or error}): check the file")


def describe_exit(path: str, exit_code: int, stderr: str) -> str:
    """A sentence on an executable that failed: its own error line, if it wrote one."""
    for line in reversed(stderr.splitlines()):
        if line.startswith("error: "):
            return line[len("error: ") :]
    how = f"exited with code {exit_code}"
    if exit_code < 0:
        try:
            how = f"was terminated by {signal.Signals(-exit_code).name}"
        except ValueError:
            how = f"was terminated by signal {-exit_code}"
    meaning = f" ({_EXIT_CODES[exit_code]})" if exit_code in _EXIT_CODES else ""
    output = f"; the end of its output: {stderr.strip()[-1000:]}" if stderr.strip() else ""
    return f"{path} {how}{meaning}{output}"


def _ask(connection: Connection, arguments: Sequence[str], stdin: str = "") -> str:
    path = find()
    try:
        answer = subprocess.run(
            [path, *arguments],
            env=connection.environ(),
            input=stdin.encode(),
            capture_output=True,
            check=False,  # the exit code says what is wrong
            timeout=TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        raise TobikoFacadeError(
            f"{connection.base_url} gave no answer to `{NAME} {arguments[0]}` within {TIME_LIMIT_S:.0f} s",
            outage=True,
        ) from None
    except OSError as error:
        raise cannot_start(path, error) from None
    if answer.returncode != 0:
        sentence = describe_exit(path, answer.returncode, answer.stderr.decode("utf-8", "replace"))
        raise TobikoFacadeError(connection.redact(sentence), outage=answer.returncode == _EXIT_OUTAGE) from None
    return answer.stdout.decode("utf-8", "replace")
