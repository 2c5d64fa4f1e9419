"""What a recorder would send of a small project: a plan, a run that ended well, a failed one, an open one."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

MIDNIGHT = datetime(2024, 5, 1, tzinfo=timezone.utc)
SEED = '"cafe"."seeds"."shops"'
ORDERS = '"cafe"."sales"."orders"'
REVENUE = '"cafe"."sales"."revenue_by_shop"'
WEATHER = '"cafe"."raw"."weather"'
TOTALS = "totals_match"  # a standalone audit has a plain name


def at(second: float) -> datetime:
    return MIDNIGHT + timedelta(seconds=second)


class Story:
    """The events, and beside them what they mean."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.nodes = [
            node(SEED, "seed", [], []),
            node(WEATHER, "external", [], []),
            node(ORDERS, "sql", [SEED], ["not_null", "unique_values"], description="All orders"),
            node(REVENUE, "python", [ORDERS, WEATHER], ["not_null"]),
            node(TOTALS, "audit", [ORDERS, REVENUE], [], kind="audit"),
        ]
        self._plan_that_evaluates_all()
        self._run_that_ends_well()
        self._run_that_fails()
        self._run_that_goes_on()

    def _plan_that_evaluates_all(self) -> None:
        plan = {"plan_id": "plan-1", "environment": "prod"}
        self._put("plan_started", 0, **plan)
        self._evaluate(plan, 1, "plan-seed", SEED)
        self._evaluate(plan, 2, "plan-orders", ORDERS, [("not_null", "success"), ("unique_values", "failed")])
        self._evaluate(plan, 3, "plan-revenue", REVENUE, [("not_null", "success")])
        self.events.append(environment("prod", *self.nodes))
        self._put("plan_ended", 5, **plan, status="success", error_message=None)

    def _run_that_ends_well(self) -> None:
        run = {"run_id": "run-1", "environment": "prod"}
        self._put("run_started", 100, **run)
        self._evaluate(run, 101, "run-1-orders-1", ORDERS, [("not_null", "success")])
        self._evaluate(run, 103, "run-1-orders-2", ORDERS, [("not_null", "success"), ("unique_values", "success")])
        self._evaluate(run, 105, "run-1-totals", TOTALS, [(TOTALS, "success")])
        self._put("run_ended", 110, **run, status="success", error_message=None)

    def _run_that_fails(self) -> None:
        run = {"run_id": "run-2", "environment": "prod"}
        self._put("run_started", 200, **run)
        self._evaluate(run, 201, "run-2-orders", ORDERS, [("not_null", "failed")], error="audit not_null failed")
        self._put("run_ended", 210, **run, status="failed", error_message="1 of 3 nodes failed")

    def _run_that_goes_on(self) -> None:
        run = {"run_id": "run-3", "environment": "prod"}
        self._put("run_started", 300, **run)
        self._batch("evaluation_started", run, 301, "run-3-revenue", REVENUE)
        self._batch("evaluation_scheduled", run, 301, "run-3-totals", TOTALS)

    def _evaluate(
        self,
        activity: dict[str, str],
        second: float,
        identifier: str,
        name: str,
        audits: list[tuple[str, str]] | None = None,
        *,
        error: str | None = None,
    ) -> None:
        self._batch("evaluation_started", activity, second, identifier, name)
        for audit, status in audits or []:
            self._put(
                "audit",
                second + 0.5,
                evaluation_id=identifier,
                name=audit,
                args=None,
                status=status,
                blocking=error is not None,
                count=0 if status == "success" else 3,
                execution_time=at(second + 0.5).isoformat(),
                interval_start=at(-3600).isoformat(),
                interval_end=at(0).isoformat(),
                log=f"the query of {audit} for {name}",
            )
        self._put(
            "evaluation_ended",
            second + 1,
            evaluation_id=identifier,
            status="failed" if error else "success",
            error_message=error,
            log=f"{identifier}\nended",
        )

    def _batch(self, kind: str, activity: dict[str, str], second: float, identifier: str, name: str) -> None:
        self._put(
            kind,
            second,
            **activity,
            evaluation_id=identifier,
            node_name=name,
            version="1",
            interval_start=at(-3600).isoformat(),
            interval_end=at(0).isoformat(),
        )

    def _put(self, kind: str, second: float, **fields: Any) -> None:
        self.events.append(event(kind, second, **fields))


def event(kind: str, second: float, **fields: Any) -> dict[str, Any]:
    return {"id": str(uuid.uuid4()), "at": at(second).isoformat(), "type": kind, **fields}


def environment(name: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    return event(
        "environment",
        4,
        environment=name,
        plan_id="plan-1",
        start_at="2024-01-01T00:00:00+00:00",
        schedule_cron="*/5 * * * *",
        schedule_seconds=300,
        nodes=list(nodes),
    )


def node(
    name: str,
    source: str,
    parents: list[str],
    audits: list[str],
    *,
    description: str | None = None,
    kind: str = "model",
) -> dict[str, Any]:
    return {
        "name": name,
        "model_name": name.replace('"', ""),
        "description": description,
        "source_type": source,
        "tags": ["cafe"],
        "parent_names": parents,
        "audit_names": audits,
        "type": kind,
        "version": "1",
    }
