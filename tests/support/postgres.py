"""Where Dagster keeps its instance: SQLite files, as it does by default, or a PostgreSQL of the bench's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path


@contextmanager
def sqlite() -> Iterator[Callable[[], str]]:
    yield lambda: ""


@contextmanager
def storage() -> Iterator[Callable[[], str]]:
    """A cluster in a temporary folder, reached by its socket there; each instance gets a database of its own."""
    with tempfile.TemporaryDirectory(prefix="facade-bench-pg-") as folder:
        # PostgreSQL refuses to run as root.
        user = "postgres" if os.getuid() == 0 else None
        if user:
            shutil.chown(folder, user)

        def do(program: str, *arguments: str) -> None:
            argv = [str(_binary(program)), *arguments]
            subprocess.run(argv, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)

        data = f"{folder}/data"
        do("initdb", "--pgdata", data, "--username=dagster", "--auth=trust")
        do("pg_ctl", "start", "--wait", "--pgdata", data, "--log", f"{folder}/log", "--options", f"-h '' -k {folder}")
        numbers = count(1)

        def configuration() -> str:
            name = f"dagster_{next(numbers)}"
            do("createdb", "--host", folder, "--username=dagster", name)
            url = f"postgresql+psycopg2://dagster@/{name}?host={folder}"
            return f'storage:\n  postgres:\n    postgres_url: "{url}"\n'

        try:
            yield configuration
        finally:
            do("pg_ctl", "stop", "--wait", "--mode=fast", "--pgdata", data)


def _binary(program: str) -> Path:
    """Debian keeps those of the server apart from PATH."""
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True), shutil.which(program)]
    for path in found:
        if path and os.access(path, os.X_OK):
            return Path(path)
    raise SystemExit(f"{program} is not here: install PostgreSQL (Debian: apt-get install postgresql)")
