"""A real `tobiko-facade serve`, fed with what the recorder would send: runs on a time line of the test's."""

from __future__ import annotations

import base64
import json
import urllib.request
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cloud_server import CloudServer

CLIENT_ID = "dagster-client"
CLIENT_SECRET = "s3cr3t-of-the-client-7f3a"


def name_of(model: str) -> str:
    """The name of a node, as the cloud has it. Standalone audits have one part."""
    return model if model.startswith('"') else f'"wh"."s"."{model}"'


def model(
    name: str, *parents: str, source_type: str = "sql", audits: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """`more`: what the newest recorder adds, such as `audits=[...]` with their arguments, by the name `details`."""
    if "details" in more:
        more["audits"] = more.pop("details")
    return {
        "name": name_of(name),
        "model_name": f"wh.s.{name}",
        "description": f"the model {name}",
        "source_type": source_type,
        "tags": [],
        "parent_names": [name_of(parent) for parent in parents],
        "audit_names": list(audits),
        "type": "model",
        "version": "1",
        **more,
    }


def standalone(name: str, *covers: str, **more: Any) -> dict[str, Any]:
    return {
        **model(name, *covers, source_type="audit", **more),
        "name": f'"{name}"',
        "model_name": name,
        "type": "audit",
    }


class Cloud(CloudServer):
    """The server and its base URL. Events go to it over HTTP."""

    def __init__(self, executable: str, folder: Path, environ: dict[str, str], locked: bool) -> None:
        self._locked = locked
        self._token: str | None = None
        super().__init__(executable, folder, client=(CLIENT_ID, CLIENT_SECRET) if locked else None, environ=environ)

    def post(self, *events: dict[str, Any]) -> None:
        body = "\n".join(json.dumps(event) for event in events).encode()
        request = urllib.request.Request(
            f"{self.base_url}/recorder/v1/events",
            data=body,
            headers={"Content-Type": "application/x-ndjson", **self._bearer()},
        )
        with urllib.request.urlopen(request) as response:
            answer = json.load(response)
        assert not answer["refused"], answer["refused"]

    def environment(self, *nodes: dict[str, Any], name: str = "prod", at: float = 1000.0) -> None:
        self.post(
            event(
                "environment",
                at,
                environment=name,
                plan_id=f"plan-{name}",
                start_at=iso(at),
                nodes=list(nodes),
            )
        )

    def run(self, run_id: str, at: float = 2000.0, environment: str = "prod") -> RemoteRun:
        return RemoteRun(self, run_id, at, environment)

    def _bearer(self) -> dict[str, str]:
        if not self._locked:
            return {}
        if self._token is None:
            basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
            request = urllib.request.Request(
                self.token_url,
                data=b"grant_type=client_credentials&scope=tbk:scope:projects",
                headers={"Authorization": f"Basic {basic}"},
            )
            with urllib.request.urlopen(request) as response:
                self._token = json.load(response)["id_token"]
        return {"Authorization": f"Bearer {self._token}"}


class RemoteRun:
    """A run of the scheduler. Each call is reported to the cloud at once; times are the test's."""

    def __init__(self, cloud: Cloud, run_id: str, at: float, environment: str) -> None:
        self._cloud = cloud
        self.run_id = run_id
        self.environment = environment
        self._at = at
        self._send("run_started", run_id=run_id, environment=environment)

    def scheduled(self, node: str, batch: int = 1) -> str:
        return self._batch("evaluation_scheduled", node, batch)

    def started(self, node: str, batch: int = 1) -> str:
        return self._batch("evaluation_started", node, batch)

    def audited(
        self, node: str, audit: str, passed: bool = True, blocking: bool = False, batch: int = 1, **more: Any
    ) -> None:
        """`more`: what the newest recorder adds, such as `duration_seconds`, or says otherwise."""
        fields = dict(
            evaluation_id=self.evaluation_id(node, batch),
            name=audit,
            args=None,
            status="success" if passed else "failed",
            blocking=blocking,
            count=0 if passed else 3,
            execution_time=iso(self._at),
            interval_start=iso(self._at - 300),
            interval_end=iso(self._at),
            log=None,
        )
        self._send("audit", **{**fields, **more})

    def ended(
        self, node: str, status: str = "success", message: str | None = None, batch: int = 1, **more: Any
    ) -> None:
        self._send(
            "evaluation_ended",
            evaluation_id=self.evaluation_id(node, batch),
            status=status,
            error_message=message,
            log="a log",
            **more,
        )

    def evaluated(self, node: str, *audits: str, status: str = "success", message: str | None = None) -> None:
        """One whole evaluation."""
        self.started(node)
        for audit in audits:
            self.audited(node, audit)
        self.ended(node, status, message)

    def end(self, status: str = "success", message: str | None = None) -> None:
        self._send(
            "run_ended",
            run_id=self.run_id,
            environment=self.environment,
            status=status,
            error_message=message,
        )

    def evaluation_id(self, node: str, batch: int = 1) -> str:
        return f"{self.run_id}-{node}-{batch}"

    def _batch(self, kind: str, node: str, batch: int) -> str:
        evaluation_id = self.evaluation_id(node, batch)
        self._send(
            kind,
            evaluation_id=evaluation_id,
            run_id=self.run_id,
            environment=self.environment,
            node_name=name_of(node),
            version="1",
            interval_start=iso(self._at - 300),
            interval_end=iso(self._at),
        )
        return evaluation_id

    def _send(self, kind: str, **fields: Any) -> None:
        self._at += 1
        self._cloud.post(event(kind, self._at, **fields))


def event(kind: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "at": iso(at), "type": kind, **fields}


def iso(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, tz=timezone.utc).isoformat()
