"""The mirror job: one remote run shown as one Dagster run, task by task."""
