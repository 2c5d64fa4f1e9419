"""Tables that models read and that others load: which assets they are in Dagster, where they are no assets of ours."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg

from .._internals import DEPS_HAVE_METADATA
from .._models import SQLMeshModel
from .._options import Options
from .._translator import table_name


class Externals:
    """The user's choices about external models, and which of them have been used.

    Args:
        options: What the user has chosen.
        production: Whether it is the environment whose tables go by their plain names: there, Dagster finds the asset
            of a table by the name, where its version can.
    """

    def __init__(self, options: Options, production: bool) -> None:
        self._keys = options.external_asset_keys
        self._only_dependencies = options.external_models == "dependencies"
        self._finds_by_name = production and DEPS_HAVE_METADATA
        self._used: set[str] = set()
        self._tables: dict[dg.AssetKey, str] = {}

    def is_dependency(self, model: SQLMeshModel) -> bool:
        """Whether it is no asset of its own."""
        return model.source_type == "external" and (self._only_dependencies or self.key(model) is not None)

    def key(self, model: SQLMeshModel) -> dg.AssetKey | None:
        """The user's key for an external model; None if there is none."""
        if not self._keys or model.source_type != "external":
            return None
        for name in _names(model):
            if name in self._keys:
                self._used.add(name)
                return self._keys[name]
        return None

    def note_table(self, model: SQLMeshModel) -> None:
        """Where the user has given no key for an external model, Dagster may find its asset by the table's name."""
        if self._finds_by_name and model.source_type == "external" and self.key(model) is None:
            self._tables[model.asset_key] = table_name(model)

    def table_of(self, dep: dg.AssetDep) -> str | None:
        """The table of a dep by its default key, unless a translator has said more about it already."""
        return None if getattr(dep, "metadata", None) else self._tables.get(dep.asset_key)

    def unused(self) -> list[str]:
        """Names for which the user gave a key, and which are no external model's."""
        return [name for name in self._keys if name not in self._used]


def _names(model: SQLMeshModel) -> Iterator[str]:
    """However a user may write it."""
    path = list(model.asset_key.path)
    yield from (model.model_name, model.name, table_name(model))
    for start in range(len(path) - 1):
        yield ".".join(path[start:])
    if len(path) == 1:
        yield path[0]
