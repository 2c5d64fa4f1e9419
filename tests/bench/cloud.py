"""The scripted local cloud that both sides are measured against, and what it was asked."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

from scripted_cloud import ScriptedCloud

AUDITS_EACH = 2
RUN = "finished-run"


@dataclass(frozen=True)
class Asked:
    requests: int
    received_kb: float


class Cloud(ScriptedCloud):
    """Asked so far: `asked()`; what was asked within a block is the difference."""

    def wait_until_played(self, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while self.state(run_id="none")["due_now"]:
            if time.monotonic() > until:
                raise RuntimeError(f"the scripted cloud is not ready: {self.log.read_text()[-2000:]}")
            time.sleep(0.5)

    def asked(self) -> Asked:
        state = self.state(run_id="none")
        calls = state["requests"]
        return Asked(sum(number for call, number in calls.items() if "/api/" in call), state["bytes"]["sent"] / 1024)


@contextmanager
def cloud(executable: str, folder: Path, models: int, batches: int = 1) -> Iterator[Cloud]:
    """An environment of so many models, with two audits each, and one run of all of them that ended an hour ago."""
    run: dict[str, Any] = {"id": RUN, "start_s": -4 * 3600, "task_s": 1, "lanes": 8}
    if batches > 1:
        run["nodes"] = {"*": {"batches": batches}}
    scenario = {
        # The original asks for all by naming no limit, and takes what it gets for all.
        "faults": [{"do": "no_default_limit"}],
        "environments": [{"generate": {"models": models, "layers": min(models, 10), "audits_each": AUDITS_EACH}}],
        "runs": [run],
    }
    folder.mkdir(parents=True, exist_ok=True)
    served = Cloud(executable, folder, scenario)
    try:
        served.wait_until_played(limit_s=300)
        yield served
    finally:
        served.stop()
