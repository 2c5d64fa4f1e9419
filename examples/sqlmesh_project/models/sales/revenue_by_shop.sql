MODEL (
  name sales.revenue_by_shop,
  kind FULL,
  description 'Revenue of each shop since the data begins.',
  tags (sales, report),
  audits (not_null(columns := (shop_name)), not_negative(column := revenue))
);

SELECT
  city,
  shop_name,
  COUNT(*)::BIGINT AS orders,
  SUM(amount)::DECIMAL(14, 2) AS revenue
FROM sales.orders_by_city
GROUP BY city, shop_name
