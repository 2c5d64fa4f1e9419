MODEL (
  name sales.customers,
  kind INCREMENTAL_BY_UNIQUE_KEY (unique_key customer_id),
  description 'When each customer was last seen.',
  tags (sales),
  audits (unique_values(columns := (customer_id)))
);

SELECT
  customer_id,
  MAX(ordered_at) AS last_seen_at
FROM sales.orders
WHERE
  ordered_at BETWEEN @start_ts AND @end_ts
GROUP BY customer_id
