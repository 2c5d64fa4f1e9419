"""The resource that version 1 declared as `tobiko_cloud`, so that code that refers to it still loads.

It holds nothing: the connection stays with `SQLMeshEnterpriseDagster`, and Dagster's Resources page, which shows plain
values to everyone, has nothing to show.
"""

from __future__ import annotations

from typing import Any

import dagster as dg

RESOURCE_KEY = "tobiko_cloud"


class TobikoCloudResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Accepts the arguments of version 1 and keeps none of them."""

    def __init__(self, **_: Any) -> None:
        super().__init__()


# One object for all environments: Dagster merges definitions only if equal keys hold the same object.
SHARED = TobikoCloudResource()
