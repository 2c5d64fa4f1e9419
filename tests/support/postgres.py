"""A PostgreSQL of a test's own, in a temporary folder, reached by its socket there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

USER = "dagster"


class Postgres:
    """A cluster that is up, with as many databases as are wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        # PostgreSQL refuses to run as root.
        self._system_user = "postgres" if os.getuid() == 0 else None
        if self._system_user:
            shutil.chown(folder, self._system_user)
        self._numbers = count(1)
        self._do("initdb", f"--pgdata={self._data}", f"--username={USER}", "--auth=trust", "--no-sync")
        self.start()

    @property
    def socket(self) -> str:
        return str(self.folder / ".s.PGSQL.5432")

    def start(self) -> None:
        options = f"-h '' -k {self.folder} -c fsync=off"
        log = str(self.folder / "log")
        self._do("pg_ctl", "start", "--wait", f"--pgdata={self._data}", f"--log={log}", f"--options={options}")

    def stop(self) -> None:
        """As an administrator does: connections are closed, transactions given up."""
        self._do("pg_ctl", "stop", "--wait", "--mode=fast", f"--pgdata={self._data}")

    def create_database(self, template: str = "template1") -> str:
        """A new database, a copy of the template. Returns its name."""
        name = f"dagster_{next(self._numbers)}"
        self._do("createdb", f"--host={self.folder}", f"--username={USER}", f"--template={template}", name)
        return name

    def dagster_yaml(self, database: str, port: int | None = None) -> str:
        """What Dagster's configuration says of its storage. `port`: of a proxy on loopback."""
        url = f"postgresql+psycopg2://{USER}@/{database}?host={self.folder}"
        if port is not None:
            url = f"postgresql+psycopg2://{USER}@127.0.0.1:{port}/{database}"
        return f'storage:\n  postgres:\n    postgres_url: "{url}"\n'

    def _do(self, program: str, *arguments: str) -> None:
        argv = [str(_binary(program)), *arguments]
        done = subprocess.run(
            argv, user=self._system_user, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr.strip()[-2000:]}")


@contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="facade-postgres-") as folder:
        server = Postgres(Path(folder))
        try:
            yield server
        finally:
            server.stop()


def _binary(program: str) -> Path:
    """Debian keeps those of the server apart from PATH."""
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True), shutil.which(program)]
    for path in found:
        if path and os.access(path, os.X_OK):
            return Path(path)
    raise SystemExit(f"{program} is not here: install PostgreSQL (Debian: apt-get install postgresql)")
