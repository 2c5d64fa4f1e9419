"""A real daemon, webserver and code server against a scripted cloud, and what tests ask of them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import dagster as dg
from deployment import LOCATION, Deployment
from scripted_cloud import ScriptedCloud

HERE = Path(__file__).parent
# Several sensors at once, as deployments with many have it: a tick that takes long holds none of the others up.
# All the rest, the run queue too, is as Dagster has it by default.
DAGSTER_YAML = """
sensors:
  use_threads: true
  num_workers: 6
"""
LIMIT_S = 300.0
# The daemon looks every five seconds whether a sensor is due.
BETWEEN_TICKS_S = 6.0
# Where a sensor stands that has seen the run called `...-0`.
SEEN = '{{"version":1,"synced":true,"last":"{}-0"}}'


@dataclass(frozen=True)
class Run:
    """A Dagster run."""

    key: str
    status: str
    created_at: float
    ended_at: float | None
    run: dg.DagsterRun


class Stack:
    def __init__(self, folder: Path, executable: str, cloud: ScriptedCloud, environments: list[str]) -> None:
        self.cloud = cloud
        self.environments = environments
        self._executable = executable
        self._folder = folder

    def begin(self, graphql_ports: dict[str, int], cursors: dict[str, str]) -> None:
        env = {
            "TCLOUD_BASE_URL": self.cloud.base_url,
            "TOBIKO_FACADE_EXECUTABLE": self._executable,
            "TOBIKO_FACADE_POLL_INTERVAL_S": "0.5",
            "ENVIRONMENTS": json.dumps(self.environments),
            "GRAPHQL_PORTS": json.dumps(graphql_ports),
        }
        self.dagster = Deployment(self._folder, HERE / "definitions.py", DAGSTER_YAML, env)
        # The daemon last: it finds the cursors as they were left before an upgrade.
        self.dagster.start(("code server", "webserver"))
        self.instance = dg.DagsterInstance.from_config(str(self.dagster.home))
        for environment, cursor in cursors.items():
            self.set_cursor(environment, cursor)
        self.dagster.start_part("daemon")

    def end(self) -> None:
        if hasattr(self, "dagster"):
            self.dagster.end()
        if hasattr(self, "instance"):
            self.instance.dispose()

    # What a person does on Dagster's page

    def set_cursor(self, environment: str, cursor: str | None) -> None:
        query = """mutation ($s: SensorSelector!, $c: String) { setSensorCursor(sensorSelector: $s, cursor: $c) {
          __typename } }"""
        answer = self._ask(query, s=_sensor(environment), c=cursor)
        assert answer["setSensorCursor"]["__typename"] == "Sensor", answer

    def terminate(self, run: Run) -> None:
        query = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
        answer = self._ask(query, id=run.run.run_id)
        assert answer["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def stop_sensor(self, environment: str) -> None:
        state = self.sensor(environment)["sensorState"]
        query = "mutation ($id: String!) { stopSensor(id: $id) { __typename } }"
        assert self._ask(query, id=state["id"])["stopSensor"]["__typename"] == "StopSensorMutationResult"

    def start_sensor(self, environment: str) -> None:
        query = "mutation ($s: SensorSelector!) { startSensor(sensorSelector: $s) { __typename } }"
        assert self._ask(query, s=_sensor(environment))["startSensor"]["__typename"] == "Sensor"

    def empty_cursor(self, environment: str) -> None:
        """With the sensor off: a tick that goes on puts its own cursor back in the end."""
        self.stop_sensor(environment)

        def is_quiet() -> bool:
            ended_at = self.ticks(environment)[-1]["endTimestamp"]
            return bool(ended_at) and time.time() - ended_at > BETWEEN_TICKS_S

        self.wait_for("the end of the last tick", is_quiet)
        self.set_cursor(environment, "")
        self.start_sensor(environment)

    # What Dagster says

    def sensor(self, environment: str) -> dict[str, Any]:
        query = """query ($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor {
          sensorState { id typeSpecificData { ... on SensorData { lastCursor } }
            ticks(limit: 100) { status timestamp endTimestamp skipReason cursor runKeys error { message }
              logEvents { events { message level } } } } } } }"""
        found: dict[str, Any] = self._ask(query, s=_sensor(environment))["sensorOrError"]
        return found

    def ticks(self, environment: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return list(reversed(self.sensor(environment)["sensorState"]["ticks"]))

    def warnings(self, environment: str) -> list[str]:
        """What its ticks have warned of."""
        return [
            event["message"]
            for tick in self.ticks(environment)
            for event in tick["logEvents"]["events"]
            if event["level"] == "WARNING"
        ]

    def cursor(self, environment: str) -> str | None:
        cursor: str | None = self.sensor(environment)["sensorState"]["typeSpecificData"]["lastCursor"]
        return cursor

    def mirrors(self, environment: str) -> list[Run]:
        return self._runs(f"tobiko_cloud_mirror_run_{environment}")

    def syncs(self, environment: str) -> list[Run]:
        return self._runs(f"tobiko_cloud_sync_{environment}")

    def launching(self) -> bool:
        """Whether a run has been asked for and its worker is not there yet."""
        before = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]
        return bool(self.instance.get_runs(dg.RunsFilter(statuses=before), limit=1))

    def mirrored(self, environment: str, *keys: str) -> list[Run]:
        """Waits until these mirrors have ended. They are all that were asked for."""

        def ended() -> list[Run] | None:
            runs = self.mirrors(environment)
            return runs if len(runs) >= len(keys) and all(run.run.is_finished for run in runs) else None

        runs = self.wait_for(f"the mirrors {keys} of {environment}", ended)
        assert [run.key for run in runs] == list(keys)
        return runs

    def newest_materialization(self, environment: str) -> str:
        """The remote run from which the model's newest materialization is."""
        event = self.instance.get_latest_materialization_event(dg.AssetKey([environment, environment, "s", "a"]))
        assert event is not None
        assert event.asset_materialization is not None
        value: str = event.asset_materialization.metadata["Tobiko Cloud Run Id"].value  # type: ignore[assignment]
        return value

    def ticks_once_more(self, environment: str) -> None:
        """Waits until a tick that began after this call has ended."""
        since = time.time()

        def ticked() -> bool:
            return any(tick["timestamp"] > since and tick["endTimestamp"] for tick in self.ticks(environment))

        self.wait_for(f"a tick of {environment}", ticked)

    def wait_for(self, what: str, fact: Callable[[], Any]) -> Any:
        try:
            return self.dagster.wait_for(what, fact, LIMIT_S)
        except TimeoutError as error:
            logs = [f"{path.name}\n{path.read_text()[-4000:]}" for path in self._folder.glob("*.log")]
            raise AssertionError("\n".join([str(error), *logs])) from None

    def _runs(self, job: str) -> list[Run]:
        """Oldest first."""
        records = self.instance.get_run_records(dg.RunsFilter(job_name=job))
        return [
            Run(
                record.dagster_run.tags.get("dagster/run_key", ""),
                record.dagster_run.status.value,
                record.create_timestamp.timestamp(),
                record.end_time,
                record.dagster_run,
            )
            for record in reversed(records)
        ]

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = self.dagster.ask(query, **variables)
        assert answer is not None, "Dagster's page does not answer"
        return answer


def nodes(environment: str, *names: str) -> list[dict[str, Any]]:
    return [{"name": f'"{environment}"."s"."{name}"'} for name in names]


def _sensor(environment: str) -> dict[str, str]:
    return {
        "repositoryName": "__repository__",
        "repositoryLocationName": LOCATION,
        "sensorName": f"tobiko_cloud_track_{environment}",
    }
