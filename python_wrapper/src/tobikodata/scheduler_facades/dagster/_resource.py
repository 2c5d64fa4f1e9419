"""The resource that the original package declared as `tobiko_cloud`: code that names it still loads.

It holds nothing. The connection stays with `SQLMeshEnterpriseDagster`, and Dagster's page of resources, which
shows plain values to everybody, has nothing to show.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

RESOURCE_KEY = "tobiko_cloud"


class TobikoCloudResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Takes the arguments of the original and keeps none of them."""

    def __init__(self, **_: Any) -> None:
        super().__init__()


# One object for all instances: Dagster merges definitions only if equal keys hold the same object.
SHARED = TobikoCloudResource()
