"""Remote runs of the past, as runs of the mirror job."""
