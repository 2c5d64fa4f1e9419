AUDIT (name no_crowded_minute, blocking false);

-- A wish rather than a rule: no more than five orders of one customer in a minute.
SELECT customer_id FROM @this_model GROUP BY customer_id, ordered_at HAVING COUNT(*) > 5
