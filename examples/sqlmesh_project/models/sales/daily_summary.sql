MODEL (
  name sales.daily_summary,
  kind INCREMENTAL_BY_TIME_RANGE (time_column day),
  cron '@daily',
  description 'One row for each shop and day. Due once a day; all else is due every five minutes.',
  tags (sales, report),
  audits (not_null(columns := (day, shop_id)))
);

SELECT
  ordered_at::DATE AS day,
  shop_id,
  COUNT(*)::BIGINT AS orders,
  SUM(amount)::DECIMAL(14, 2) AS revenue
FROM sales.order_values
WHERE
  ordered_at BETWEEN @start_ts AND @end_ts
GROUP BY ordered_at::DATE, shop_id
