MODEL (
  name sales.revenue_by_product,
  kind FULL,
  description 'Revenue of each product, those that nobody orders included.',
  tags (sales, report),
  audits (every_product_sells)
);

SELECT
  products.product_id,
  products.product_name,
  products.category,
  COALESCE(SUM(order_values.amount), 0)::DECIMAL(14, 2) AS revenue
FROM seeds.products AS products
LEFT JOIN sales.order_values AS order_values
  ON products.product_id = order_values.product_id
GROUP BY products.product_id, products.product_name, products.category
