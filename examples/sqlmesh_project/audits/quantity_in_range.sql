AUDIT (name quantity_in_range, defaults (max_quantity = 10));

SELECT * FROM @this_model WHERE quantity NOT BETWEEN 1 AND @max_quantity
