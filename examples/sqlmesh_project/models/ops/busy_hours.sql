MODEL (
  name ops.busy_hours,
  kind VIEW,
  description 'Orders by the hour of the day, to plan shifts with.',
  tags (ops)
);

SELECT
  EXTRACT(HOUR FROM ordered_at)::INT AS hour_of_day,
  COUNT(*)::BIGINT AS orders
FROM sales.orders
GROUP BY EXTRACT(HOUR FROM ordered_at)
