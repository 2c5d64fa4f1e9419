"""The component for projects of `dg`. Its modules are imported only where Dagster has what they build on."""
