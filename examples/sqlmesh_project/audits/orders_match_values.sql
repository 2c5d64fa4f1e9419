AUDIT (
  name orders_match_values,
  standalone true,
  cron '*/5 * * * *',
  description 'Every order has got a value: a rule about two models, so it stands alone.'
);

SELECT orders.order_id
FROM sales.orders AS orders
LEFT JOIN sales.order_values AS order_values
  ON orders.order_id = order_values.order_id
WHERE
  order_values.order_id IS NULL
