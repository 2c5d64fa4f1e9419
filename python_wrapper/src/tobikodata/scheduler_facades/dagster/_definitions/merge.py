"""Rejects what does not fit into one code location, when definitions are merged.

Dagster 1.9.1 silently keeps one of two external assets with equal keys, newer versions name the key and no remedy.
`Definitions.merge` looks up the keys of the resources; so the key that all definitions of this package share knows
what is declared with it, and looks at what it is merged with.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import dagster as dg

from .._environment import Environment
from .._resource import RESOURCE_KEY


class SharedKey(str):
    """The text `tobiko_cloud`. To merge it with definitions that do not fit is an error."""

    environment: Environment
    # The names of the models, by the keys of their assets.
    models: Mapping[dg.AssetKey, str]

    @classmethod
    def of(cls, environment: Environment, assets: Iterable[dg.AssetSpec]) -> SharedKey:
        key = cls(RESOURCE_KEY)
        key.environment = environment
        nodes = {asset: node for node, asset in environment.names.assets_of_nodes.items()}
        model_names = {node.name: node.model_name for node in environment.manifest.nodes}
        key.models = {spec.key: model_names[nodes[spec.key]] for spec in assets}
        return key

    def __hash__(self) -> int:
        for others in _merged_in(sys._getframe(1)):
            _check_users(self, others)
        return str.__hash__(self)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SharedKey) and other is not self:
            _check(self, other)
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def _merged_in(frame: Any) -> Iterator[dg.Definitions]:
    """The definitions that `Definitions.merge` is merging, if that is what looks the key up.

    Nothing that Dagster calls in a merge is told of the other definitions. Where its merge is written otherwise than
    today, Dagster's own error remains.
    """
    if frame.f_code is inspect.unwrap(dg.Definitions.merge).__code__:
        for others in frame.f_locals.get("def_sets") or ():
            if isinstance(others, dg.Definitions):
                yield others


def _check_users(ours: SharedKey, others: dg.Definitions) -> None:
    """Raises if definitions of the user's own declare an asset of ours."""
    # What this package has declared is compared by its keys.
    of_package = {key for shared in others.resources or () if isinstance(shared, SharedKey) for key in shared.models}
    for asset in others.assets or ():
        for key, what in _declared_by(asset):
            if key in ours.models and key not in of_package:
                raise dg.DagsterInvalidDefinitionError(_two_declare(ours, key, what))


def _declared_by(asset: Any) -> Iterator[tuple[dg.AssetKey, str]]:
    if isinstance(asset, dg.AssetsDefinition):
        by = f"by {asset.op.name}" if asset.is_executable else "by an AssetsDefinition"
        yield from ((key, by) for key in asset.keys)
    elif isinstance(asset, (dg.AssetSpec, dg.SourceAsset)):
        yield asset.key, f"as {'an AssetSpec' if isinstance(asset, dg.AssetSpec) else 'a SourceAsset'}"


def _two_declare(ours: SharedKey, key: dg.AssetKey, what: str) -> str:
    model, environment = ours.models[key], ours.environment
    name = key.to_user_string()
    is_external = any(node.kind == "table" and node.model_name == model for node in environment.manifest.nodes)
    remedy = (
        f'leave it to yours by create_definitions(..., external_asset_keys={{"{model}": "{name}"}}), or all external '
        'models by external_models="dependencies"'
        if is_external
        else f'leave it to yours by create_definitions(..., exclude=["{model}"]), or nest those of SQLMesh below an '
        "asset_prefix"
    )
    return (
        f"asset {name} is declared twice: {what} in definitions of yours, and for model {model} of SQLMesh's "
        f"environment {environment.name!r}: {remedy}"
    )


def _check(first: SharedKey, second: SharedKey) -> None:
    one, other = first.environment, second.environment
    if one.identifier == other.identifier:
        raise dg.DagsterInvalidDefinitionError(
            f"environments {one.name!r} of {one.connection.base_url} and {other.name!r} of "
            f"{other.connection.base_url} would both have a job {one.mirror_job}: give one of them a name, "
            'create_definitions(..., name="..."), or each a code location of its own'
        )
    shared = first.models.keys() & second.models.keys()
    if shared:
        example = min(key.to_user_string() for key in shared)
        raise dg.DagsterInvalidDefinitionError(
            f"environments {one.name!r} and {other.name!r} share {len(shared)} asset keys, for example "
            f"{example}: nest those of one below a prefix, create_definitions(..., asset_prefix=...)"
        )
