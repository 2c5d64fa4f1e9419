"""A real `tobiko-facade serve --scenario`: runs and faults by order of the test, and the truth to compare with."""

from __future__ import annotations

import json
import os
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cloud_server import CloudServer
from waiting import wait_until

# Whatever proxy the developer's machine has: this is not for it.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ScriptedCloud(CloudServer):
    """The server and its control endpoint."""

    def __init__(
        self, executable: str, folder: Path, scenario: dict[str, Any] | None = None, locked: bool = False
    ) -> None:
        """`locked`: only the client of TCLOUD_CLIENT_ID and TCLOUD_CLIENT_SECRET may ask."""
        file = folder / "scenario.json"
        file.write_text(json.dumps(scenario or {}))
        client = (os.environ["TCLOUD_CLIENT_ID"], os.environ["TCLOUD_CLIENT_SECRET"]) if locked else None
        super().__init__(executable, folder, f"--scenario={file}", client=client)

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

    def settled(self, limit_s: float = 60) -> None:
        """Waits until all that is due has been played."""
        self._wait_until(lambda: self.state()["due_now"] == 0, limit_s)

    def wait_for_end(self, run_id: str, limit_s: float = 60) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            found = self.state(run_id=run_id)["runs"]
            return dict(found[0]) if found and found[0]["end_at"] else None

        run: dict[str, Any] = self._wait_until(ended, limit_s)
        return run

    def _wait_until(self, fact: Any, limit_s: float) -> Any:
        return wait_until(fact, limit_s, details=lambda: self.log.read_text()[-2000:])


@contextmanager
def scripted_cloud(executable: str, folder: Path, **scenario: Any) -> Iterator[ScriptedCloud]:
    cloud = ScriptedCloud(executable, folder, scenario)
    try:
        yield cloud
    finally:
        cloud.stop()
