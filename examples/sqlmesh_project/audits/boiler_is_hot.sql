AUDIT (name boiler_is_hot);

SELECT * FROM @this_model WHERE celsius < 85
