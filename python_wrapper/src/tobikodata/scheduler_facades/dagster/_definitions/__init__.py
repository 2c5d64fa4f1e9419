"""What a code location declares of one environment: assets, checks, jobs and the sensor."""
