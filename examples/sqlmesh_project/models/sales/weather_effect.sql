MODEL (
  name sales.weather_effect,
  kind FULL,
  description 'Do people drink more coffee when it rains?',
  tags (sales, report)
);

SELECT
  weather.rain,
  ROUND(AVG(weather.celsius), 1)::DOUBLE AS celsius,
  COUNT(*)::BIGINT AS orders
FROM sales.order_values AS order_values
JOIN raw.weather AS weather
  ON EXTRACT(HOUR FROM order_values.ordered_at) = weather.hour_of_day
GROUP BY weather.rain
