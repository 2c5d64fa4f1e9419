"""From the manifest to the specs of assets and checks, by way of the translator, and the map of their names.

Whatever the translator does, an asset is declared once, and every dep, check and event goes by the names that it gave.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg

from .._errors import TobikoFacadeError
from .._internals import replace_attributes
from .._manifest import Manifest
from .._models import SQLMeshAudit, SQLMeshModel
from .._names import EventNames
from .._options import Options
from .._translator import adds_event_metadata, valid_group_name

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
    """Asks the translator about every model and audit.

    Raises:
        TobikoFacadeError: The translator raised or returned what is no spec, or two models or audits got one key.
    """
    models = {node.name: SQLMeshModel.of(node, manifest, asset_prefix) for node in manifest.nodes if node.key}
    own: dict[str, dg.AssetSpec] = {}
    names: dict[dg.AssetKey, dg.AssetKey | None] = {}
    keys: dict[dg.AssetKey, dg.AssetKey] = {}
    for name, model in models.items():
        spec = _asset_spec(options, model)
        if spec is None:
            key = _prefixed(model.asset_key, asset_prefix)
            names[key] = None
            keys[model.asset_key] = key
            continue
        own[name] = spec
        keys[model.asset_key] = names[_prefixed(model.asset_key, asset_prefix)] = _prefixed(spec.key, asset_prefix)
    _refuse_shared_keys(options, {name: keys[models[name].asset_key] for name in own})
    upstream_only = _upstream_only(manifest, asset_prefix, options, models)
    keys.update(upstream_only)
    assets = {name: _finished(options, models[name], spec, keys) for name, spec in own.items()}
    checks = list(_checks(manifest, options, models, assets))
    _warn_about_adjustments(manifest.environment, models.values())
    return Declared(
        manifest=manifest,
        assets=tuple(assets.values()),
        checks=tuple(check for _, check in checks if check),
        names=EventNames(
            assets=names,
            checks={wire: check.spec.key if check else None for wire, check in checks},
            assets_of_nodes={node.name: assets[node.name].key for node in manifest.nodes if node.name in assets},
            added_metadata=options.translator.get_event_metadata if adds_event_metadata(options.translator) else None,
        ),
    )


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


def _upstream_only(
    manifest: Manifest, asset_prefix: str | None, options: Options, models: dict[str, SQLMeshModel]
) -> dict[dg.AssetKey, dg.AssetKey]:
    """The keys of tables that are upstream of models and no models themselves, by their default keys."""
    known = {model.asset_key for model in models.values()}
    others = dict.fromkeys(dep for model in models.values() for dep in model.deps if dep not in known)
    keys: dict[dg.AssetKey, dg.AssetKey] = {}
    for key in others:
        model = SQLMeshModel.upstream_only(tuple(key.path), manifest)
        spec = _asset_spec(options, model)
        keys[key] = _prefixed(spec.key if spec else key, asset_prefix)
    return keys


def _finished(
    options: Options, model: SQLMeshModel, spec: dg.AssetSpec, keys: dict[dg.AssetKey, dg.AssetKey]
) -> dg.AssetSpec:
    """The translator's spec with its final key, and deps that go by the names that other models were given."""
    key = keys[model.asset_key]
    changes: dict[str, Any] = {}
    if key != spec.key:
        changes["key"] = key
    deps = _deps(spec, key, keys)
    if deps is not None:
        changes["deps"] = deps
    if options.group_by == "schema" and spec.group_name is None and model.schema:
        group_name = valid_group_name(model.schema, model)
        if group_name:
            changes["group_name"] = group_name
    return replace_attributes(spec, **changes) if changes else spec


def _deps(spec: dg.AssetSpec, key: dg.AssetKey, keys: dict[dg.AssetKey, dg.AssetKey]) -> list[dg.AssetDep] | None:
    """None if they stay as they are. Two that become one are one."""
    given = list(spec.deps)
    deps: dict[dg.AssetKey, dg.AssetDep] = {}
    for dep in given:
        to = keys.get(dep.asset_key, dep.asset_key)
        if to == dep.asset_key:
            deps.setdefault(to, dep)
        elif to != key:
            deps.setdefault(to, dg.AssetDep(to, partition_mapping=dep.partition_mapping))
    unchanged = len(deps) == len(given) and all(deps[dep.asset_key] is dep for dep in given if dep.asset_key in deps)
    return None if unchanged and all(dep.asset_key in deps for dep in given) else list(deps.values())


def _checks(
    manifest: Manifest, options: Options, models: dict[str, SQLMeshModel], assets: dict[str, dg.AssetSpec]
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
            if node.name in assets:
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
            yield wire, DeclaredCheck(spec, check.node or (check.audit if check.audit in audits else node.name))


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
        more = f", and {len(texts) - _EXAMPLES} more" if len(texts) > _EXAMPLES else ""
        logger.warning(
            "environment %s: Dagster refuses what some models carry: %s%s",
            environment,
            "; ".join(texts[:_EXAMPLES]),
            more,
        )
