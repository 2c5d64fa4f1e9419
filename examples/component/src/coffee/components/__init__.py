"""Components of this project's own."""

from .coffee_sqlmesh import CoffeeSQLMesh

__all__ = ["CoffeeSQLMesh"]
