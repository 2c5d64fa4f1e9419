MODEL (
  name sales.orders_by_city,
  kind VIEW,
  description 'Orders beside the city they were made in.',
  tags (sales)
);

SELECT
  order_values.ordered_at,
  order_values.order_id,
  shops.city,
  shops.shop_name,
  order_values.amount
FROM sales.order_values AS order_values
JOIN seeds.shops AS shops
  ON order_values.shop_id = shops.shop_id
