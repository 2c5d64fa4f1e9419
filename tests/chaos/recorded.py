"""What SQLMesh does beside the simulated runs: plans, runs that become known late, another project on the same server.

It goes the recorder's way, through whatever faults there are: what did not arrive is sent again. What is true of it is
kept here, in the shape of the control API's runs.
"""

from __future__ import annotations

import base64
import json
import random
import time
import urllib.request
from collections import deque
from typing import Any

from recorded_cloud import event, iso
from scripted_cloud import OPENER

# The simulated runs belong to the project without a name.
OWN_PROJECT_PATH = "/projects/default"
OTHER_PROJECT = "other"
OTHER_STATE = "of another"
# How long before it becomes known a late run has ended.
LATE_S = 120.0


class Recorder:
    def __init__(self, server: str, token_url: str, client: tuple[str, str], chance: random.Random) -> None:
        """`server`: the address below which each project has its base URL."""
        self._server = server.rstrip("/")
        self._url = f"{self._server}/recorder/v1/events"
        self._token_url = token_url
        self._basic = base64.b64encode(":".join(client).encode()).decode()
        self._token: str | None = None
        self._chance = chance
        self._unsent: deque[list[dict[str, Any]]] = deque()
        self.plans: dict[str, dict[str, Any]] = {}
        self.late_runs: set[str] = set()

    def plan(self, nodes: list[dict[str, Any]], fails: bool) -> str:
        """A plan that has just ended. It evaluates a few models; the last of them fails, if the plan fails."""
        plan_id = f"plan-{len(self.plans) + 1}"
        ids = {"plan_id": plan_id, "environment": "prod"}
        at = time.time() - 3
        message = f"{plan_id} failed" if fails else None
        events, evaluations = self._evaluations(plan_id, ids, self._some_models(nodes), at, fails)
        status = "failed" if fails else "success"
        end = event("plan_ended", at + 2, **ids, status=status, error_message=message)
        self._unsent.append([event("plan_started", at, **ids), *events, end])
        self.plans[plan_id] = {
            "run_id": plan_id,
            "status": status,
            "error_message": message,
            "end_at": iso(at + 2),
            "evaluations": evaluations,
        }
        return plan_id

    def late_run(self, nodes: list[dict[str, Any]]) -> None:
        """A run that ended while the machine on which it ran was offline."""
        run_id = f"late-{len(self.late_runs) + 1}"
        ids = {"run_id": run_id, "environment": "prod"}
        at = time.time() - LATE_S - 10
        events, _ = self._evaluations(run_id, ids, self._some_models(nodes), at, fails=False)
        end = event("run_ended", at + 2, **ids, status="success", error_message=None)
        self._unsent.append([event("run_started", at, **ids), *events, end])
        self.late_runs.add(run_id)

    def other_project(self, nodes: list[dict[str, Any]]) -> None:
        """A project with an environment and models of the same names. Nothing of it belongs into this Dagster."""
        at = time.time() - 5
        names = {"project": OTHER_PROJECT, "project_is_named": True, "state": OTHER_STATE}
        ids = {"run_id": f"other-{at:.3f}", "environment": "prod"}
        dag = event("environment", at, environment="prod", plan_id="other-plan", start_at=iso(at), nodes=nodes)
        events, _ = self._evaluations(ids["run_id"], ids, self._some_models(nodes), at, fails=True)
        end = event("run_ended", at + 2, **ids, status="failed", error_message="of another project")
        self._unsent.append([{**one, **names} for one in (dag, event("run_started", at, **ids), *events, end)])

    def send(self) -> bool:
        """Tries once to get rid of what is unsent. Says whether all has arrived."""
        try:
            while self._unsent:
                self._post(self._unsent[0])
                self._unsent.popleft()
        except (OSError, ValueError, KeyError):
            self._token = None
        return not self._unsent

    def ask(self, path: str) -> Any:
        """What the API answers, where no fault is."""
        request = urllib.request.Request(
            f"{self._server}{OWN_PROJECT_PATH}{path}", headers={"Authorization": f"Bearer {self._token}"}
        )
        with OPENER.open(request, timeout=10) as response:
            return json.load(response)

    def _post(self, events: list[dict[str, Any]]) -> None:
        if self._token is None:
            form = b"grant_type=client_credentials&scope=tbk%3Ascope%3Aprojects"
            self._token = self._exchange(self._token_url, form, f"Basic {self._basic}")["id_token"]
        body = "\n".join(map(json.dumps, events)).encode()
        answer = self._exchange(self._url, body, f"Bearer {self._token}")
        # A fault may be an answer of any shape; that of the server has this.
        if answer["refused"]:
            raise AssertionError(f"the cloud refuses what is recorded: {answer['refused'][:3]}")

    @staticmethod
    def _exchange(url: str, body: bytes, authorization: str) -> Any:
        kind = "application/x-www-form-urlencoded" if b"grant_type" in body[:20] else "application/x-ndjson"
        headers = {"Authorization": authorization, "Content-Type": kind}
        with OPENER.open(urllib.request.Request(url, body, headers), timeout=10) as response:
            return json.load(response)

    def _some_models(self, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        models = [node for node in nodes if node["source_type"] == "sql" and node["type"] == "model"]
        return self._chance.sample(models, min(4, len(models)))

    def _evaluations(
        self, prefix: str, ids: dict[str, str], models: list[dict[str, Any]], at: float, fails: bool
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The events of these models' evaluations, and what is true of them."""
        events, evaluations = [], []
        for number, node in enumerate(models):
            failed = fails and node is models[-1]
            evaluation_id = f"{prefix}-{node['name']}"
            start, end = at + 0.1 * number, at + 1 + 0.1 * number
            interval = {"interval_start": iso(at - 300), "interval_end": iso(at)}
            message = f"{node['model_name']} failed in {prefix}" if failed else None
            audits = [] if failed else [(name, self._chance.random() < 0.8) for name in node["audit_names"]]
            started = event(
                "evaluation_started",
                start,
                **ids,
                **interval,
                evaluation_id=evaluation_id,
                node_name=node["name"],
                version="1",
            )
            results = [
                event(
                    "audit",
                    end - 0.01,
                    **interval,
                    evaluation_id=evaluation_id,
                    name=name,
                    args=None,
                    status="success" if passed else "failed",
                    blocking=False,
                    count=0 if passed else 1,
                    execution_time=iso(end - 0.01),
                    log=None,
                )
                for name, passed in audits
            ]
            status = "failed" if failed else "success"
            ended = event(
                "evaluation_ended", end, evaluation_id=evaluation_id, status=status, error_message=message, log=None
            )
            events += [started, *results, ended]
            evaluations.append(
                {
                    "evaluation_id": evaluation_id,
                    "node_name": node["name"],
                    "status": status,
                    "start_at": iso(start),
                    "end_at": iso(end),
                    "error_message": message,
                    "audits": [{"name": name, "status": "success" if passed else "failed"} for name, passed in audits],
                }
            )
        return events, evaluations
