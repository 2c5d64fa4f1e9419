"""What Dagster loads: SQLMesh's models beside one's own pipelines."""

from dagster import Definitions

from . import custom_logic, definitions

defs = Definitions.merge(definitions.tobiko_cloud_definitions, custom_logic.custom_definitions)
