"""Rejects two environments that do not fit into one code location, when their definitions are merged.

Dagster 1.9.1 silently keeps one of two assets with equal keys, newer versions name both and no remedy.
`Definitions.merge` compares the keys of the resources; so the key that all definitions of this package share knows
what is declared with it.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from .._environment import Environment
from .._resource import RESOURCE_KEY


class SharedKey(str):
    """The text `tobiko_cloud`; to compare it with that of an environment with the same names is an error."""

    environment: Environment
    asset_keys: frozenset[dg.AssetKey]

    @classmethod
    def of(cls, environment: Environment, assets: Iterable[dg.AssetSpec]) -> SharedKey:
        key = cls(RESOURCE_KEY)
        key.environment = environment
        key.asset_keys = frozenset(spec.key for spec in assets)
        return key

    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SharedKey) and other is not self:
            _check(self, other)
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


def _check(first: SharedKey, second: SharedKey) -> None:
    one, other = first.environment, second.environment
    if one.identifier == other.identifier:
        raise dg.DagsterInvalidDefinitionError(
            f"environments {one.name!r} of {one.connection.base_url} and {other.name!r} of "
            f"{other.connection.base_url} would both have a job {one.mirror_job}: give one of them a name, "
            'create_definitions(..., name="..."), or each a code location of its own'
        )
    shared = first.asset_keys & second.asset_keys
    if shared:
        example = min(key.to_user_string() for key in shared)
        raise dg.DagsterInvalidDefinitionError(
            f"environments {one.name!r} and {other.name!r} share {len(shared)} asset keys, for example "
            f"{example}: nest those of one below a prefix, create_definitions(..., asset_prefix=...)"
        )
