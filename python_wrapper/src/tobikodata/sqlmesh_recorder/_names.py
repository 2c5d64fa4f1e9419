"""How SQLMesh names what it works on."""

from __future__ import annotations

from typing import Any


def node_name(unit: Any) -> str:
    """The snapshot's name, whatever the unit of work is: an object, a snapshot id, or (long ago) a tuple."""
    if isinstance(unit, tuple) and not hasattr(unit, "name"):
        unit = unit[0]
    names = (getattr(unit, "snapshot_name", None), getattr(unit, "name", None), unit)
    return next((name for name in names if isinstance(name, str)), "")
