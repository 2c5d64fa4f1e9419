MODEL (
  name ops.shop_dashboard,
  kind FULL,
  description 'What hangs on the wall of the office: money and machines, shop by shop.',
  tags (ops, report)
);

SELECT
  revenue.shop_name,
  revenue.orders,
  revenue.revenue,
  alerts.celsius AS alert_celsius
FROM sales.revenue_by_shop AS revenue
LEFT JOIN ops.machine_alerts AS alerts
  ON revenue.shop_name = alerts.shop_name
