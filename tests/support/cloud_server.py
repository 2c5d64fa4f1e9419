"""Starts and ends `tobiko-facade serve`, for all tests that need a cloud."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

# Pods of a real cluster need an address of this machine that they can reach.
HOST = os.environ.get("KUBERNETES_TEST_HOST", "127.0.0.1")


def executable_under_test() -> str | None:
    """What TOBIKO_FACADE_EXECUTABLE names, else what is installed beside this Python."""
    beside = shutil.which(Path(sys.executable).parent / "tobiko-facade")
    return os.environ.get("TOBIKO_FACADE_EXECUTABLE") or beside or shutil.which("tobiko-facade")


class CloudServer:
    """A server with a database and a log in a folder. Stopped and started again, it has the same port and database."""

    def __init__(
        self,
        executable: str,
        folder: Path,
        *options: str,
        client: tuple[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`client`: id and secret of the only OAuth client that may ask; None: everybody may. `options`: of `serve`."""
        self.folder = folder
        self.log = folder / "cloud.log"
        self._argv = [executable, "serve", "--quiet", f"--database={folder / 'cloud.db'}", *options]
        hidden = ("TCLOUD_CLIENT_ID", "TCLOUD_CLIENT_SECRET")
        self._environ = {name: value for name, value in (environ or os.environ).items() if name not in hidden}
        if client is not None:
            self._environ.update(zip(hidden, client))
        self._port = 0
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self._argv, f"--listen={HOST}:{self._port}"],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        urls: dict[str, str] = json.loads(line)
        self.base_url = urls["base_url"]
        self.token_url = urls["token_url"]
        self.control_url = urls.get("control_url", "")
        self._port = int(self.base_url.rstrip("/").rsplit(":", 1)[1])

    def stop(self) -> None:
        """At once, as a machine that is switched off."""
        self.process.kill()
        self._wait()

    def terminate(self) -> int:
        """As an init system does it; returns the exit code."""
        self.process.terminate()
        return self._wait()

    def _wait(self) -> int:
        code = self.process.wait(60)
        if self.process.stdout:
            self.process.stdout.close()
        return code
