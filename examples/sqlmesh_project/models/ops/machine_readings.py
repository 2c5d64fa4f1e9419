"""What the coffee machines say of themselves; the model of the project that fails on demand."""

from __future__ import annotations

import os
import typing as t
from datetime import datetime

import pandas as pd
from sqlglot import exp
from sqlmesh import ExecutionContext, model


@model(
    "ops.machine_readings",
    kind="FULL",
    cron="*/5 * * * *",
    description=(
        "Boiler temperature of each shop's machine. With COFFEE_MACHINE=broken it fails, "
        "with COFFEE_MACHINE=cold its blocking audit does."
    ),
    tags=["ops"],
    depends_on=["seeds.shops"],
    columns={"shop_id": "int", "read_at": "timestamp", "celsius": "double"},
    audits=[("boiler_is_hot", {})],
)
def execute(context: ExecutionContext, execution_time: datetime, **_: t.Any) -> pd.DataFrame:
    # Read while the model runs, so that it takes no plan to switch.
    state = os.environ.get("COFFEE_MACHINE", "")
    if state == "broken":
        raise RuntimeError("the coffee machine of shop 3 does not answer (COFFEE_MACHINE=broken)")
    shops = context.fetchdf(exp.select("shop_id").from_(context.resolve_table("seeds.shops")).order_by("shop_id"))
    boiler = 20.0 if state == "cold" else 92.0
    return pd.DataFrame(
        {
            "shop_id": shops["shop_id"],
            "read_at": pd.Timestamp(execution_time).tz_localize(None),
            "celsius": boiler + shops["shop_id"] * 0.5,
        }
    )
