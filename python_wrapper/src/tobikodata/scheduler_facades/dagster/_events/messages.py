"""The messages of `tobiko-facade sync` and `mirror` on the Pipes channel, as typed values.

Pure: Pipes messages go in, events come out. Everything that belongs to one task becomes one `TaskResult`: its
materializations and checks are collected until the custom message that closes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Callable, Union

import dagster as dg

EVALUATION_ID_OF_ASSET = "Tobiko Cloud Execution Id"
EVALUATION_ID_OF_CHECK = "Tobiko Cloud Evaluation Id"
TIMESTAMP_OF_ASSET = "Materialization Timestamp"
TIMESTAMP_OF_CHECK = "Execution Timestamp"


@dataclass(frozen=True)
class RemoteRun:
    """Which remote run is mirrored. The first event, sent once."""

    run_id: str
    environment: str | None = None
    status: str | None = None
    link: str | None = None
    started_at: float | None = None


@dataclass(frozen=True)
class TaskStarted:
    """The node's first evaluation has started, and its task goes on."""

    node: str
    link: str | None = None


@dataclass(frozen=True)
class Materialization:
    key: dg.AssetKey
    metadata: Mapping[str, dg.MetadataValue]

    @property
    def evaluation_id(self) -> str | None:
        return text_of(self.metadata, EVALUATION_ID_OF_ASSET)

    @property
    def timestamp(self) -> float | None:
        return number_of(self.metadata, TIMESTAMP_OF_ASSET)


@dataclass(frozen=True)
class CheckResult:
    key: dg.AssetCheckKey
    passed: bool
    severity: dg.AssetCheckSeverity
    metadata: Mapping[str, dg.MetadataValue]

    @property
    def evaluation_id(self) -> str | None:
        return text_of(self.metadata, EVALUATION_ID_OF_CHECK)

    @property
    def timestamp(self) -> float | None:
        return number_of(self.metadata, TIMESTAMP_OF_CHECK)


@dataclass(frozen=True)
class TaskResult:
    """Everything reported of one task.

    `late`: its step has already finished. `at`: when its last evaluation ended, or began if none has, in Unix seconds.
    """

    node: str
    outcome: str
    reason: str | None = None
    link: str | None = None
    log_link: str | None = None
    warnings: tuple[str, ...] = ()
    late: bool = False
    at: float | None = None
    materializations: tuple[Materialization, ...] = ()
    checks: tuple[CheckResult, ...] = ()


@dataclass(frozen=True)
class PastTask:
    """How a task of a past run ended: `success` or `failure`. Times are in epoch seconds."""

    node: str
    outcome: str
    start_at: float
    end_at: float
    reason: str | None = None
    link: str | None = None
    log_link: str | None = None


@dataclass(frozen=True)
class PastRun:
    """A remote run that had ended before anybody followed it. Of its tasks, those that were evaluated."""

    run_id: str
    outcome: str
    start_at: float
    end_at: float
    reason: str | None = None
    link: str | None = None
    tasks: tuple[PastTask, ...] = ()


@dataclass(frozen=True)
class RunFinished:
    """The last message: everything has been reported, unless the outcome is `gave_up`."""

    outcome: str
    run_id: str | None = None
    reason: str | None = None
    link: str | None = None
    tasks: int | None = None
    requests: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether everything that happened was reported."""
        return self.outcome != "gave_up"


@dataclass(frozen=True)
class PipesMessage:
    """A message that Dagster's own handler takes: opened, closed, log."""

    message: Mapping[str, Any]


@dataclass(frozen=True)
class LogLine:
    """A line for Dagster's log, from a thread that must not write there itself. `level` as in `logging`."""

    level: int
    text: str


@dataclass(frozen=True)
class Unreadable:
    """A message that could not be understood; those after it are not lost."""

    why: str


Event = Union[RemoteRun, TaskStarted, TaskResult, PastRun, RunFinished, PipesMessage, LogLine, Unreadable]


class Assembler:
    """Turns Pipes messages, one by one, into events."""

    def __init__(self) -> None:
        self._materializations: list[Materialization] = []
        self._checks: list[CheckResult] = []
        self._past_tasks: list[PastTask] = []
        self._received = 0

    def feed(self, message: Mapping[str, Any]) -> list[Event]:
        try:
            return self._read(message["method"], message.get("params") or {}, message)
        except (KeyError, TypeError, ValueError, AttributeError, dg.DagsterError) as error:
            return [Unreadable(f"{type(error).__name__}: {error} in {_shortened(json.dumps(message))}")]

    def _read(self, method: str, params: Mapping[str, Any], message: Mapping[str, Any]) -> list[Event]:
        if method in ("opened", "closed"):
            return [PipesMessage(message)]
        self._received += 1
        if method == "log":
            return [PipesMessage(message)]
        if method == "report_asset_materialization":
            self._materializations.append(
                Materialization(asset_key(params["asset_key"]), metadata_values(params.get("metadata")))
            )
            return []
        if method == "report_asset_check":
            self._checks.append(
                CheckResult(
                    key=dg.AssetCheckKey(asset_key(params["asset_key"]), params["check_name"]),
                    passed=bool(params["passed"]),
                    severity=dg.AssetCheckSeverity(params.get("severity") or "ERROR"),
                    metadata=metadata_values(params.get("metadata")),
                )
            )
            return []
        if method == "report_custom_message":
            return self._read_custom(params["payload"])
        return [Unreadable(f"unknown method {method!r}")]

    def _read_custom(self, payload: Mapping[str, Any]) -> list[Event]:
        kind = payload.get("tobiko")
        if kind == "run":
            more = {"started_at": payload.get("start_at")}
            more.update((name, payload.get(name)) for name in ("environment", "status", "link"))
            return [RemoteRun(payload["run_id"], **more)]
        if kind == "task_started":
            return [TaskStarted(payload["node"], payload.get("link"))]
        if kind == "task":
            return self._close_task(payload)
        if kind in ("past_task", "past_run"):
            return self._read_past(kind, payload)
        if kind == "done":
            more = {name: payload.get(name) for name in ("run_id", "reason", "link", "tasks", "requests")}
            return [self._verify_count(RunFinished(payload["outcome"], **more), payload.get("messages"))]
        return [Unreadable(f"unknown custom message {_shortened(json.dumps(payload))}")]

    def _read_past(self, kind: str, payload: Mapping[str, Any]) -> list[Event]:
        """The tasks of a past run come first, then the run, which says how many they were."""
        if kind == "past_task":
            more = _times_and_links(payload, "log_link")
            self._past_tasks.append(PastTask(payload["node"], payload["outcome"], **more))
            return []
        tasks, self._past_tasks = tuple(self._past_tasks), []
        run_id = payload["run_id"]
        if payload.get("tasks", len(tasks)) != len(tasks):
            return [Unreadable(f"of past run {run_id}, {payload['tasks']} tasks were announced, {len(tasks)} arrived")]
        return [PastRun(run_id, payload["outcome"], **_times_and_links(payload), tasks=tasks)]

    def _verify_count(self, finished: RunFinished, sent: int | None) -> RunFinished:
        """The last message says how many were sent before it."""
        received = self._received - 1
        if not finished.is_complete or sent is None or sent == received:
            return finished
        return replace(finished, outcome="gave_up", reason=f"{sent} messages were sent and {received} arrived")

    def _close_task(self, payload: Mapping[str, Any]) -> list[Event]:
        materializations, self._materializations = tuple(self._materializations), []
        checks, self._checks = tuple(self._checks), []
        result = TaskResult(
            node=payload["node"],
            outcome=payload["outcome"],
            reason=payload.get("reason"),
            link=payload.get("link"),
            log_link=payload.get("log_link"),
            warnings=tuple(payload.get("warnings") or ()),
            late=bool(payload.get("late")),
            at=payload.get("at"),
            materializations=materializations,
            checks=checks,
        )
        expected = (
            int(bool(payload.get("materialized", materializations))),
            payload.get("checks", len(checks)),
        )
        if expected != (len(materializations), len(checks)):
            return [
                Unreadable(
                    f"of {result.node}, {expected[0]} materializations and {expected[1]} checks were "
                    f"announced, {len(materializations)} and {len(checks)} arrived"
                ),
                result,
            ]
        return [result]


def _times_and_links(payload: Mapping[str, Any], *more: str) -> dict[str, Any]:
    times = {name: float(payload[name]) for name in ("start_at", "end_at")}
    return {**times, **{name: payload.get(name) for name in ("reason", "link", *more)}}


def asset_key(wire: str) -> dg.AssetKey:
    """Parts joined by slashes, or a JSON list of the parts where one of them holds a slash."""
    return dg.AssetKey(json.loads(wire) if wire.startswith("[") else wire.split("/"))


def metadata_values(wire: Mapping[str, Any] | None) -> dict[str, dg.MetadataValue]:
    return {key: _metadata_value(key, entry["raw_value"], entry["type"]) for key, entry in (wire or {}).items()}


def _metadata_value(key: str, raw: Any, kind: str) -> dg.MetadataValue:
    # 1.9.1 has no Pipes type `timestamp`: such values travel as floats, known by their name.
    if key.endswith("Timestamp") and isinstance(raw, (int, float)):
        return dg.MetadataValue.timestamp(float(raw))
    builders: dict[str, Callable[[Any], dg.MetadataValue]] = {
        "text": dg.MetadataValue.text,
        "url": dg.MetadataValue.url,
        "md": dg.MetadataValue.md,
        "int": dg.MetadataValue.int,
        "float": dg.MetadataValue.float,
        "bool": dg.MetadataValue.bool,
        "json": dg.MetadataValue.json,
    }
    build = builders.get(kind)
    return build(raw) if build else dg.MetadataValue.text(str(raw))


def text_of(metadata: Mapping[str, Any], key: str) -> str | None:
    value = getattr(metadata.get(key), "value", None)
    return value if isinstance(value, str) else None


def number_of(metadata: Mapping[str, Any], key: str) -> float | None:
    value = getattr(metadata.get(key), "value", None)
    return float(value) if isinstance(value, (int, float)) else None


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
