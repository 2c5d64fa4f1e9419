"""An asset of the project's own, below a model."""

import dagster as dg


@dg.asset(
    deps=[dg.AssetKey(["coffee", "sales", "revenue_by_shop"])],
    automation_condition=dg.AutomationCondition.eager(),
    kinds={"python"},
)
def revenue_report(context: dg.AssetExecutionContext) -> None:
    """Would send the revenue by shop."""
    context.log.info("the revenue by shop has changed")
