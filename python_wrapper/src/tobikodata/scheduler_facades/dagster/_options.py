"""What a user may choose of how an environment is declared: checked once, passed on as one value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from ._errors import TobikoFacadeError
from ._freshness import SQLMeshFreshness
from ._selection import Selection
from ._translator import DagsterSQLMeshTranslator

GROUP_BY = ("schema",)
EXTERNAL_MODELS = ("declare", "dependencies")
SENSOR_INTERVAL_S = 30


@dataclass(frozen=True)
class Options:
    """The arguments of `create_definitions` beside the environment, its prefix and whether the sensor runs."""

    translator: DagsterSQLMeshTranslator = field(default_factory=DagsterSQLMeshTranslator)
    group_by: str | None = None
    external_models: str = "declare"
    # By the name of the table, as a user writes it.
    external_asset_keys: Mapping[str, dg.AssetKey] = field(default_factory=dict)
    selection: Selection = field(default_factory=lambda: Selection.of(None, ()))
    name: str | None = None
    freshness: SQLMeshFreshness | None = None
    sensor_interval_seconds: int = SENSOR_INTERVAL_S

    @staticmethod
    def checked(
        translator: Any,
        group_by: Any,
        external_models: Any,
        external_asset_keys: Any,
        include: Any,
        exclude: Any,
        name: Any,
        freshness: Any = None,
        sensor_interval_seconds: Any = SENSOR_INTERVAL_S,
    ) -> Options:
        """From what the user gave.

        Raises:
            TobikoFacadeError: An argument has a value that it cannot have.
        """
        if translator is not None and not isinstance(translator, DagsterSQLMeshTranslator):
            raise TobikoFacadeError(
                f"translator={translator!r} is no translator: give an object of a class derived from "
                "DagsterSQLMeshTranslator"
            )
        if group_by is not None and group_by not in GROUP_BY:
            raise TobikoFacadeError(f"group_by={group_by!r} is unknown: give 'schema', or leave it out")
        if external_models not in EXTERNAL_MODELS:
            raise TobikoFacadeError(f"external_models={external_models!r} is unknown: give 'declare' or 'dependencies'")
        if name is not None and not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_]+", name)):
            raise TobikoFacadeError(
                f"name={name!r} cannot stand in the names of jobs: give letters, digits and underscores"
            )
        if freshness is not None and not isinstance(freshness, SQLMeshFreshness):
            raise TobikoFacadeError(f"freshness={freshness!r} is unknown: give e.g. SQLMeshFreshness()")
        if type(sensor_interval_seconds) is not int or sensor_interval_seconds < 1:  # True is an int, too
            raise TobikoFacadeError(
                f"sensor_interval_seconds={sensor_interval_seconds!r} is no number of seconds: give a whole number, "
                "1 or more"
            )
        return Options(
            translator=translator or DagsterSQLMeshTranslator(),
            group_by=group_by,
            external_models=external_models,
            external_asset_keys=_asset_keys(external_asset_keys),
            selection=Selection.of(
                None if include is None else _patterns("include", include), _patterns("exclude", exclude or ())
            ),
            name=name,
            freshness=freshness,
            sensor_interval_seconds=sensor_interval_seconds,
        )


def _asset_keys(given: Any) -> dict[str, dg.AssetKey]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TobikoFacadeError(
            f"external_asset_keys={given!r} is no mapping: give {{'raw.orders': 'dlt/orders'}}, the name of the table "
            "and the key of the asset"
        )
    return {str(table): _asset_key(table, key) for table, key in given.items()}


def _asset_key(table: Any, key: Any) -> dg.AssetKey:
    if isinstance(key, dg.AssetKey):
        return key
    if isinstance(key, str) and key.strip():
        return dg.AssetKey(key.split("/"))
    if isinstance(key, Sequence) and key and all(isinstance(part, str) for part in key):
        return dg.AssetKey(list(key))
    raise TobikoFacadeError(
        f"external_asset_keys: {key!r} for {table!r} is no asset key: give 'dlt/orders', ['dlt', 'orders'] or an "
        "AssetKey"
    )


def _patterns(argument: str, given: Any) -> tuple[str, ...]:
    if isinstance(given, str) or not all(isinstance(pattern, str) and pattern.strip() for pattern in given):
        raise TobikoFacadeError(f"{argument}={given!r} is no list of patterns: give e.g. ['shop.*', 'tag:daily']")
    return tuple(pattern.strip() for pattern in given)
