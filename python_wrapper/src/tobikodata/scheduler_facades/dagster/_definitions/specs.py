"""From the manifest to the specs of assets and checks, by way of the translator, and the map of their names.

Whatever the translator does, an asset is declared once, and every dep, check and event goes by the names that it gave.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from .._errors import TobikoFacadeError
from .._internals import asset_dep, replace_attributes
from .._manifest import Manifest
from .._models import SQLMeshAudit, SQLMeshModel, without_prefix
from .._names import EventNames
from .._options import Options
from .._selection import Selection
from .._translator import PRODUCTION, adds_event_metadata, valid_group_name
from .externals import Externals

logger = logging.getLogger(__name__)

# How many of many are named in a warning.
_EXAMPLES = 3


@dataclass(frozen=True)
class DeclaredCheck:
    """A check, and the node whose evaluations bring its results: the model, or a standalone audit that covers it."""

    spec: dg.AssetCheckSpec
    node: str


@dataclass(frozen=True)
class Declared:
    """What a code location declares of a manifest."""

    # Without the nodes that are left out.
    manifest: Manifest
    assets: tuple[dg.AssetSpec, ...]
    checks: tuple[DeclaredCheck, ...]
    names: EventNames


def declared(manifest: Manifest, asset_prefix: str | None, options: Options) -> Declared:
    """Asks the translator about every model and audit that is not left out.

    Raises:
        TobikoFacadeError: The translator raised or returned what is no spec, or two models or audits got one key.
    """
    left_out, unmatched = options.selection.left_out(manifest.nodes)
    kept = manifest.without(left_out)
    models = {node.name: SQLMeshModel.of(node, kept, asset_prefix) for node in kept.nodes if node.key}
    externals = Externals(options, production=manifest.environment == PRODUCTION)
    own: dict[str, dg.AssetSpec] = {}
    keys: dict[dg.AssetKey, dg.AssetKey] = {}
    for name, model in models.items():
        spec = None if externals.is_dependency(model) else _asset_spec(options, model)
        if spec is not None:
            own[name] = spec
            keys[model.asset_key] = _prefixed(spec.key, asset_prefix)
    _refuse_shared_keys(options, {name: keys[models[name].asset_key] for name in own})
    for model in _upstream_only(manifest, asset_prefix, models, own):
        keys[model.asset_key] = externals.key(model) or _prefixed(_key_of(options, model), asset_prefix)
        externals.note_table(model)
    assets = {name: _finished(options, models[name], spec, keys, externals) for name, spec in own.items()}
    checks = list(_checks(manifest, left_out, options, models, assets))
    _warn_about_adjustments(manifest.environment, models.values())
    _warn_about_unmatched(manifest, "these patterns of include and exclude match no model", unmatched)
    _warn_about_unmatched(manifest, "these names in external_asset_keys are of no external model", externals.unused())
    return Declared(
        manifest=kept,
        assets=tuple(assets.values()),
        checks=tuple(check for _, check in checks if check),
        names=EventNames(
            assets={
                dg.AssetKey(list(node.key)): assets[node.name].key if node.name in assets else None
                for node in manifest.nodes
                if node.key
            },
            checks={wire: check.spec.key if check else None for wire, check in checks},
            assets_of_nodes={name: spec.key for name, spec in assets.items()},
            is_left_out=LeftOut(left_out, frozenset(node.name for node in kept.nodes), options.selection),
            added_metadata=options.translator.get_event_metadata if adds_event_metadata(options.translator) else None,
        ),
    )


@dataclass(frozen=True)
class LeftOut:
    """Whether a node is left out of the code location, by its name; also where it is newer than the code location."""

    names: frozenset[str]
    declared: frozenset[str]
    selection: Selection

    def __call__(self, node_name: str) -> bool:
        if node_name in self.names:
            return True
        return node_name not in self.declared and self.selection.leaves_out_unknown(node_name)


def _asset_spec(options: Options, model: SQLMeshModel) -> dg.AssetSpec | None:
    try:
        spec = options.translator.get_asset_spec(model)
    except Exception as error:  # whatever the user's code raises
        raise _raised(options, "get_asset_spec", f"model {model.model_name}", error) from error
    if spec is not None and not isinstance(spec, dg.AssetSpec):
        raise TobikoFacadeError(
            f"{type(options.translator).__name__}.get_asset_spec returned {spec!r} for model {model.model_name}: it "
            "must return an AssetSpec, or None for a model that is not declared"
        )
    return spec


def _raised(options: Options, method: str, what: str, error: Exception) -> TobikoFacadeError:
    name = f"{type(options.translator).__name__}.{method}"
    return TobikoFacadeError(f"{name} raised {type(error).__name__} for {what}: {error}")


def _prefixed(key: dg.AssetKey, asset_prefix: str | None) -> dg.AssetKey:
    return dg.AssetKey([asset_prefix, *key.path]) if asset_prefix else key


def _refuse_shared_keys(options: Options, keys: dict[str, dg.AssetKey]) -> None:
    first: dict[dg.AssetKey, str] = {}
    for name, key in keys.items():
        other = first.setdefault(key, name)
        if other != name:
            raise TobikoFacadeError(
                f"{type(options.translator).__name__}.get_asset_spec gave models {other} and {name} the same key "
                f"{key.to_user_string()}: give each its own"
            )


def _key_of(options: Options, model: SQLMeshModel) -> dg.AssetKey:
    """The translator's key; the default one for a model that is not declared."""
    spec = _asset_spec(options, model)
    return model.asset_key if spec is None else spec.key


def _upstream_only(
    manifest: Manifest, asset_prefix: str | None, models: Mapping[str, SQLMeshModel], own: Mapping[str, dg.AssetSpec]
) -> Iterator[SQLMeshModel]:
    """What is upstream of declared models and not declared: models, and tables that are none of the environment's."""
    declared_keys = {models[name].asset_key for name in own}
    wanted = dict.fromkeys(dep for name in own for dep in models[name].deps if dep not in declared_keys)
    if not wanted:
        return
    nodes = {without_prefix(node.key, asset_prefix): node for node in manifest.nodes if node.key}
    for key in wanted:
        node = nodes.get(tuple(key.path))
        if node is None:
            yield SQLMeshModel.upstream_only(tuple(key.path), manifest)
        else:
            yield models.get(node.name) or SQLMeshModel.of(node, manifest, asset_prefix)


def _finished(
    options: Options,
    model: SQLMeshModel,
    spec: dg.AssetSpec,
    keys: Mapping[dg.AssetKey, dg.AssetKey],
    externals: Externals,
) -> dg.AssetSpec:
    """The translator's spec with its final key, and deps that go by the names that other models were given."""
    key = keys[model.asset_key]
    changes: dict[str, Any] = {}
    if key != spec.key:
        changes["key"] = key
    deps = _deps(spec, key, keys, externals)
    if deps is not None:
        changes["deps"] = deps
    if options.group_by == "schema" and spec.group_name is None and model.schema:
        group_name = valid_group_name(model.schema, model)
        if group_name:
            changes["group_name"] = group_name
    if options.freshness and spec.freshness_policy is None:
        policy = options.freshness.policy(model.cron)
        if policy is not None:
            changes["freshness_policy"] = policy
    return replace_attributes(spec, **changes) if changes else spec


def _deps(
    spec: dg.AssetSpec, key: dg.AssetKey, keys: Mapping[dg.AssetKey, dg.AssetKey], externals: Externals
) -> list[dg.AssetDep] | None:
    """None if they stay as they are. Dagster takes each key once: two that become one are one."""
    deps: dict[dg.AssetKey, dg.AssetDep] = {}
    is_changed = False
    for dep in spec.deps:
        to = keys.get(dep.asset_key, dep.asset_key)
        is_changed |= to != dep.asset_key
        if to in deps or (to == key and dep.partition_mapping is None):
            is_changed = True
            continue
        table = externals.table_of(dep)
        is_changed |= table is not None
        deps[to] = dep if to == dep.asset_key and table is None else asset_dep(to, dep.partition_mapping, table)
    return list(deps.values()) if is_changed else None


def _checks(
    manifest: Manifest,
    left_out: frozenset[str],
    options: Options,
    models: Mapping[str, SQLMeshModel],
    assets: Mapping[str, dg.AssetSpec],
) -> Iterator[tuple[dg.AssetCheckKey, DeclaredCheck | None]]:
    """Each check by the name that the executable reports; None where it is not declared."""
    audits = {node.name for node in manifest.nodes if node.type == "audit"}
    taken: dict[dg.AssetCheckKey, str] = {}
    translator = type(options.translator).__name__
    for node in manifest.nodes:
        if not node.key:
            continue
        for check in node.checks:
            wire = dg.AssetCheckKey(dg.AssetKey(list(node.key)), check.name)
            spec = None
            carrier = check.node or (check.audit if check.audit in audits else node.name)
            # A standalone audit that is left out, or a model.
            if node.name in assets and carrier not in left_out:
                audit = SQLMeshAudit.of(check, models[node.name])
                spec = _check_spec(options, audit, assets[node.name].key)
            if spec is None:
                yield wire, None
                continue
            if spec.key in taken:
                raise TobikoFacadeError(
                    f"{translator}.get_asset_check_spec gave audits {taken[spec.key]} and {check.audit} of model "
                    f"{models[node.name].model_name} the same name {spec.name}: give each its own"
                )
            taken[spec.key] = check.audit
            yield wire, DeclaredCheck(spec, carrier)


def _check_spec(options: Options, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> dg.AssetCheckSpec | None:
    what = f"audit {audit.name} of model {audit.model.model_name}"
    try:
        spec = options.translator.get_asset_check_spec(audit, asset_key)
    except Exception as error:  # whatever the user's code raises
        raise _raised(options, "get_asset_check_spec", what, error) from error
    name = f"{type(options.translator).__name__}.get_asset_check_spec"
    if spec is not None and not isinstance(spec, dg.AssetCheckSpec):
        raise TobikoFacadeError(
            f"{name} returned {spec!r} for {what}: it must return an AssetCheckSpec, or None for one that is not "
            "declared"
        )
    if spec is not None and spec.asset_key != asset_key:
        raise TobikoFacadeError(
            f"{name} returned a check of asset {spec.asset_key.to_user_string()} for {what}: it must be one of "
            f"{asset_key.to_user_string()}"
        )
    return spec


def _warn_about_adjustments(environment: str, models: Iterable[SQLMeshModel]) -> None:
    texts = list(dict.fromkeys(text for model in models for text in model.adjustments))
    if texts:
        logger.warning("environment %s: Dagster refuses what some models carry: %s", environment, _some(texts))


def _warn_about_unmatched(manifest: Manifest, what: str, texts: Sequence[str]) -> None:
    """Where there are models to match."""
    if texts and manifest.nodes:
        logger.warning("environment %s: %s: %s", manifest.environment, what, _some(texts))


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _EXAMPLES} more" if len(texts) > _EXAMPLES else ""
    return "; ".join(texts[:_EXAMPLES]) + more
