MODEL (
  name ops.machine_alerts,
  kind FULL,
  description 'Machines that a technician should look at.',
  tags (ops)
);

SELECT
  readings.shop_id,
  shops.shop_name,
  readings.celsius
FROM ops.machine_readings AS readings
JOIN seeds.shops AS shops
  ON readings.shop_id = shops.shop_id
WHERE
  readings.celsius > 93.5
