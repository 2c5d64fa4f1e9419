MODEL (
  name sales.order_values,
  kind INCREMENTAL_BY_TIME_RANGE (time_column ordered_at, batch_size 288),
  description 'Orders with what they are worth.',
  tags (sales),
  audits (not_null(columns := (order_id, amount)), not_negative(column := amount))
);

SELECT
  orders.ordered_at,
  orders.order_id,
  orders.shop_id,
  orders.customer_id,
  orders.product_id,
  orders.quantity,
  (orders.quantity * products.price)::DECIMAL(10, 2) AS amount
FROM sales.orders AS orders
JOIN seeds.products AS products
  ON orders.product_id = products.product_id
WHERE
  orders.ordered_at BETWEEN @start_ts AND @end_ts
