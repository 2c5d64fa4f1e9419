MODEL (
  name seeds.products,
  kind SEED (path '$root/seeds/products.csv'),
  columns (product_id INT, product_name TEXT, category TEXT, price DECIMAL(6, 2)),
  description 'What can be ordered, and for how much.',
  tags (reference)
);
