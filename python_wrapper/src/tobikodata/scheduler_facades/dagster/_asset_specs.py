"""The assets of an environment without the rest, for those who build their own definitions around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from ._facade import SQLMeshEnterpriseDagster


def load_sqlmesh_asset_specs(
    sqlmesh: SQLMeshEnterpriseDagster, environment: str = "prod", asset_prefix: str | None = None, **more: Any
) -> Sequence[dg.AssetSpec]:
    """The assets that `create_definitions` declares, to be changed or declared elsewhere.

    Their events come from the jobs of `create_definitions`, which know the keys that a translator gave. For keys that
    are changed here afterwards, nothing is reported.

    Args:
        sqlmesh: The project.
        environment: The SQLMesh environment.
        asset_prefix: First part of every asset key.
        more: `translator`, `group_by`, `include` and all the others that `create_definitions` takes.

    Returns:
        One spec for each model that is declared, upstream models first.

    Raises:
        TobikoFacadeError: The environment cannot be loaded, and no earlier manifest may serve instead.
    """
    definitions = sqlmesh.create_definitions(environment, asset_prefix, **more)
    return [asset for asset in definitions.assets or () if isinstance(asset, dg.AssetSpec)]
