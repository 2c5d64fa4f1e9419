"""What the executable reports: its Pipes messages, and how they become events of Dagster's log."""
