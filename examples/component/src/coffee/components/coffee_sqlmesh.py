"""The component with a rule that YAML cannot say."""

from dataclasses import dataclass

import dagster as dg

from tobikodata.scheduler_facades.dagster import SQLMeshComponent, SQLMeshModel


@dataclass
class CoffeeSQLMesh(SQLMeshComponent):
    """SQLMesh, where each seed belongs to those who maintain reference data."""

    reference_team: str = "reference-data"

    def get_asset_spec(self, model: SQLMeshModel) -> dg.AssetSpec | None:
        spec = super().get_asset_spec(model)
        if spec and model.source_type == "seed":
            return spec.replace_attributes(owners=[f"team:{self.reference_team}"])
        return spec
