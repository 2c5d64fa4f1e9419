MODEL (
  name seeds.shops,
  kind SEED (path '$root/seeds/shops.csv'),
  columns (shop_id INT, shop_name TEXT, city TEXT, seats INT),
  description 'The shops of the chain.',
  tags (reference),
  audits (not_null(columns := (shop_id, shop_name)))
);
