"""A real `tobiko-facade serve --scenario`: runs and faults by order of the test, and the truth to compare with."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Whatever proxy the developer's machine has: this is not for it.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ScriptedCloud:
    """The server and its control endpoint."""

    def __init__(
        self, executable: str, folder: Path, scenario: dict[str, Any] | None = None, locked: bool = False
    ) -> None:
        """`locked`: it lets in the client of TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET only."""
        file = folder / "scenario.json"
        file.write_text(json.dumps(scenario or {}))
        self.log = folder / "scripted-cloud.log"
        argv = [executable, "serve", "--quiet", "--listen=127.0.0.1:0", f"--scenario={file}"]
        hidden = () if locked else ("TCLOUD_CLIENT_ID", "TCLOUD_CLIENT_SECRET")
        environ = {name: value for name, value in os.environ.items() if name not in hidden}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, f"--database={folder / 'scripted-cloud.db'}"],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        places = json.loads(line)
        self.base_url: str = places["base_url"]
        self.token_url: str = places["token_url"]
        self.control_url: str = places["control_url"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def order(self, what: str, body: Any) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.control_url}/control/{what}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with OPENER.open(request, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def environment(self, name: str, nodes: list[dict[str, Any]]) -> None:
        self.order("environments", {"name": name, "nodes": nodes})
        self.settled()

    def run(self, **description: Any) -> str:
        (run_id,) = self.order("runs", description)["run_ids"]
        return str(run_id)

    def fault(self, do: Any, **rule: Any) -> None:
        self.order("faults", {"do": do, **rule})

    def clear_faults(self) -> None:
        request = urllib.request.Request(f"{self.control_url}/control/faults", method="DELETE")
        OPENER.open(request, timeout=30).close()

    def state(self, **query: str) -> dict[str, Any]:
        url = f"{self.control_url}/control/state?{urllib.parse.urlencode(query)}"
        with OPENER.open(url, timeout=30) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    def truth(self, run_id: str) -> dict[str, Any]:
        """A run with all its evaluations, whatever faults there are."""
        (run,) = self.state(run_id=run_id)["runs"]
        return dict(run)

    def settled(self, limit_s: float = 20) -> None:
        """Waits until all that is due has been told."""
        self._wait(lambda: self.state()["due_now"] == 0, limit_s)

    def wait_for_end(self, run_id: str, limit_s: float = 60) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self.state(run_id=run_id)["runs"]
            return dict(found[0]) if found and found[0]["end_at"] else None

        run: dict[str, Any] = self._wait(ended, limit_s)
        return run

    def _wait(self, fact: Any, limit_s: float) -> Any:
        until = time.monotonic() + limit_s
        while True:
            found = fact()
            if found:
                return found
            assert time.monotonic() < until, f"it did not come true: {self.log.read_text()[-2000:]}"
            time.sleep(0.02)


@contextmanager
def scripted_cloud(executable: str, folder: Path, **scenario: Any) -> Iterator[ScriptedCloud]:
    cloud = ScriptedCloud(executable, folder, scenario)
    try:
        yield cloud
    finally:
        cloud.stop()
