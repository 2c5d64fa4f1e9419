MODEL (
  name sales.orders,
  kind INCREMENTAL_BY_TIME_RANGE (time_column ordered_at, batch_size 144),
  description 'One row for each order. Made up from the clock, the same every time.',
  tags (sales, core),
  grain order_id,
  audits (
    not_null(columns := (order_id, shop_id, ordered_at)),
    unique_values(columns := (order_id)),
    quantity_in_range(max_quantity := 20),
    no_crowded_minute
  )
);

SELECT
  slot.ordered_at,
  EPOCH(slot.ordered_at)::BIGINT * 10 + shops.shop_id AS order_id,
  shops.shop_id,
  (HASH(slot.ordered_at, shops.shop_id, 'customer') % 60 + 1)::INT AS customer_id,
  (HASH(slot.ordered_at, shops.shop_id, 'product') % 7 + 1)::INT AS product_id,
  (HASH(slot.ordered_at, shops.shop_id, 'quantity') % 4 + 1)::INT AS quantity
FROM (
  SELECT UNNEST(GENERATE_SERIES(@start_ts::TIMESTAMP, @end_ts::TIMESTAMP, INTERVAL 1 MINUTE)) AS ordered_at
) AS slot
CROSS JOIN seeds.shops AS shops
WHERE
  slot.ordered_at BETWEEN @start_ts AND @end_ts
  AND HASH(slot.ordered_at, shops.shop_id, 'open') % 3 > 0
