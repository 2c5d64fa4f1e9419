"""What `dg scaffold defs tobikodata.scheduler_facades.dagster.SQLMeshComponent NAME` writes."""

# Annotations are read at run time, by pydantic.
from typing import Any, Optional

from pydantic import BaseModel, Field

import dagster as dg

_URL = "{{ env.TCLOUD_BASE_URL }}"


class ScaffoldParams(BaseModel):
    """The options of the command. No credentials: what is typed there ends in the shell's history."""

    url: str = Field(default=_URL, description="Base URL of the project. Default: that of TCLOUD_BASE_URL.")
    environment: str = Field(default="prod", description="The SQLMesh environment.")
    asset_prefix: Optional[str] = Field(default=None, description="First part of every asset key.")
    name: Optional[str] = Field(default=None, description="Goes into the names of jobs and sensor.")


class SQLMeshComponentScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes `defs.yaml`, or `component.py` with `--format python`."""

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        return ScaffoldParams

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        attributes: dict[str, Any] = request.params.model_dump(exclude_none=True)
        dg.scaffold_component(request, attributes)
