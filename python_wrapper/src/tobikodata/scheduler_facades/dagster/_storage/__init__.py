"""Fewer connections and round trips to the database in which Dagster keeps its runs and events."""
