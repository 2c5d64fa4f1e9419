AUDIT (name every_product_sells, blocking false);

-- Fails in normal data: nobody orders the affogato. It warns and blocks nothing.
SELECT * FROM @this_model WHERE revenue = 0
