"""What a translator gets: a model and an audit as the cloud describes them. Made from the manifest."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from ._manifest import Check, Manifest, Node

# The manifest's kinds are what Dagster shows as kinds; SQLMesh calls this one otherwise.
_SOURCE_TYPES = {"table": "external"}
_MODEL_KINDS = {"seed": "SEED", "external": "EXTERNAL"}


@dataclass(frozen=True)
class SQLMeshModel:
    """A model of a SQLMesh project, in one environment.

    An upstream table that is no model of the environment is one, too, with `is_declared` False: a translator decides
    about its key.
    """

    # As the cloud names it: fully qualified and quoted, e.g. '"wh"."shop"."orders"'.
    name: str
    # As the project's author wrote it, e.g. "shop.orders".
    model_name: str
    # The parts of the name. A name of one part has neither catalog nor schema.
    catalog: str | None
    schema: str | None
    table: str
    # SQLMesh's kind, such as "FULL" or "VIEW", where the cloud says it; seeds are "SEED", external models "EXTERNAL".
    kind: str | None
    # "sql", "python", "seed" or "external"; None where the cloud says something else.
    source_type: str | None
    tags: tuple[str, ...]
    # The author's own text, without the link.
    description: str | None
    # The page of the model in the cloud.
    link: str | None
    # Names of the models and standalone audits upstream.
    parents: tuple[str, ...]
    # The SQLMesh environment, as the user gave it.
    environment: str
    # When the model is due, where the cloud says so.
    cron: str | None = None
    # What the cloud is called: "Tobiko Cloud", or "SQLMesh" where a local cloud answers.
    cloud: str = "Tobiko Cloud"
    # The key of the asset by default, before `asset_prefix`: the parts of the name.
    asset_key: dg.AssetKey = field(default_factory=lambda: dg.AssetKey([""]))
    # Those of the assets upstream. A translator may return others, or leave some out.
    deps: tuple[dg.AssetKey, ...] = ()
    # Whether it is a model of the environment, and not only named as upstream of one.
    is_declared: bool = True
    # What the default translator changed or left out, since Dagster refuses it: for one warning.
    adjustments: list[str] = field(default_factory=list, repr=False, compare=False)

    @staticmethod
    def of(node: Node, manifest: Manifest, asset_prefix: str | None) -> SQLMeshModel:
        """The model of a node that has an asset."""
        key = without_prefix(node.key or (), asset_prefix)
        source_type = _SOURCE_TYPES.get(node.kind or "", node.kind)
        return SQLMeshModel(
            name=node.name,
            model_name=node.model_name,
            **_parts(key),
            kind=_MODEL_KINDS.get(source_type or ""),
            source_type=source_type,
            tags=node.tags,
            description=_own_text(node.description, node.link),
            link=node.link,
            parents=node.parents,
            environment=manifest.environment,
            cron=node.cron,
            cloud=manifest.cloud,
            asset_key=dg.AssetKey(list(key)),
            deps=tuple(dg.AssetKey(list(without_prefix(dep, asset_prefix))) for dep in dict.fromkeys(node.deps)),
        )

    @staticmethod
    def upstream_only(key: tuple[str, ...], manifest: Manifest) -> SQLMeshModel:
        """A table that models read and that is none of the environment's. `key` is without the prefix."""
        return SQLMeshModel(
            name=".".join(f'"{part}"' for part in key),
            model_name=".".join(key),
            **_parts(key),
            kind="EXTERNAL",
            source_type="external",
            tags=(),
            description=None,
            link=None,
            parents=(),
            environment=manifest.environment,
            asset_key=dg.AssetKey(list(key)),
            is_declared=False,
        )


@dataclass(frozen=True)
class SQLMeshAudit:
    """An audit of a model, or a standalone audit as far as it covers the model."""

    # The audit's name in SQLMesh.
    name: str
    model: SQLMeshModel
    # The name of the check by default: the audit's, without what Dagster refuses. Where the model has the audit with
    # several arguments, all but the first have those in their names.
    check_name: str
    # What its author says about it: SQLMesh has a place for that on standalone audits only. This and what follows is
    # None where the cloud does not say it; Tobiko Cloud says nothing but the names of a model's audits.
    description: str | None = None
    # As a person reads them: "columns := (id)".
    arguments: str | None = None
    # Whether the model's evaluation fails if the audit does.
    blocking: bool | None = None
    # The SQL as it is written, with its macros; 2 KiB of it.
    query: str | None = None
    # The page of the standalone audit, or of the model.
    link: str | None = None

    @staticmethod
    def of(check: Check, model: SQLMeshModel) -> SQLMeshAudit:
        return SQLMeshAudit(
            name=check.audit,
            model=model,
            check_name=check.name,
            description=check.description,
            arguments=check.arguments,
            blocking=check.blocking,
            query=check.query,
            link=check.link or model.link,
        )


def without_prefix(key: tuple[str, ...], asset_prefix: str | None) -> tuple[str, ...]:
    """The manifest's keys are below the prefix; what a translator gets and returns is not."""
    return key[1:] if asset_prefix and len(key) > 1 and key[0] == asset_prefix else key


def _parts(key: tuple[str, ...]) -> dict[str, Any]:
    """A name of more than three parts has a catalog of several."""
    table = key[-1] if key else ""
    schema = key[-2] if len(key) > 1 else None
    return {"catalog": ".".join(key[:-2]) or None, "schema": schema, "table": table}


def _own_text(description: str | None, link: str | None) -> str | None:
    """The description without the link that the executable puts at its end."""
    text = (description or "").strip()
    if link and text.endswith(f"]({link})"):
        text = text[: text.rfind("[", 0, len(text) - len(link))].rstrip()
    return text or None
