"""How models and audits become assets and checks: the class that users derive from, with the defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg

from ._environment import ENVIRONMENT_TAG, environment_tag
from ._models import SQLMeshAudit, SQLMeshModel

# Tags of a SQLMesh model that are meant for Dagster.
GROUP_NAME_TAG = "dagster:group_name:"
OWNER_TAG = "dagster:owner:"
LINK = "Link"
TABLE_NAME = "dagster/table_name"
PRODUCTION = "prod"

_TAG = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_GROUP_NAME = re.compile(r"[A-Za-z0-9_]+")
_EMAIL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_TEAM = re.compile(r"team:[A-Za-z0-9_-]+")


class DagsterSQLMeshTranslator:
    """Says what a model and an audit of SQLMesh are in Dagster.

    Override a method to change that, and call it on `super()` to start from the defaults:

        class Translator(DagsterSQLMeshTranslator):
            def get_asset_spec(self, model):
                spec = super().get_asset_spec(model)
                return spec.replace_attributes(group_name=model.schema, key=["analytics", model.table])

    The keys are below `asset_prefix`, where there is one. Names of ops do not follow them.
    """

    def get_asset_spec(self, model: SQLMeshModel) -> dg.AssetSpec | None:
        """What is declared of a model.

        Args:
            model: The model. Where its `is_declared` is False, it is a table that is only named as upstream of a
                model, and only the key of what is returned counts.

        Returns:
            The asset; its `deps` may name other models by their default keys (`model.deps`). None: the model is not
            declared, and nothing that happens to it is reported on an asset. What is downstream of it keeps its deps.
        """
        return dg.AssetSpec(
            key=model.asset_key,
            deps=model.deps,
            description=_description(model),
            metadata=_metadata(model),
            group_name=_group_name(model),
            owners=_owners(model),
            tags={**_tags(model), ENVIRONMENT_TAG: environment_tag(model.environment)},
            kinds=_kinds(model),
        )

    def get_asset_check_spec(self, audit: SQLMeshAudit, asset_key: dg.AssetKey) -> dg.AssetCheckSpec | None:
        """What is declared of an audit.

        Args:
            audit: The audit, with its model.
            asset_key: The key of the model's asset, as it is declared.

        Returns:
            The check, of this asset. None: it is not declared, and its results are not reported.
        """
        return dg.AssetCheckSpec(
            name=audit.check_name,
            asset=asset_key,
            description=_check_description(audit),
            metadata=_check_metadata(audit),
            blocking=False,
        )

    def get_event_metadata(self, event: Any) -> Mapping[str, Any]:  # noqa: ARG002  # for those who override it
        """Metadata to add to a materialization or to the result of a check. What is there already stays as it is.

        Args:
            event: What is about to be written. It has a `key` (an `AssetKey` or an `AssetCheckKey`, as declared),
                `metadata`, `evaluation_id` and `timestamp` (seconds since the epoch); the result of a check also has
                `passed` and `severity`.
        """
        return {}


# Dagster's button "Execute" promises more.
_EXECUTE = '"Execute" reports the newest result that was recorded once more; it does not run the audit.'
_BLOCKING = {True: "Its failure fails the evaluation of the model.", False: "Its failure is a warning."}


def _check_description(audit: SQLMeshAudit) -> str:
    """The author's text, or else the audit's name with its arguments; then how it acts."""
    call = f"{audit.name}({audit.arguments})" if audit.arguments else audit.name
    acts = f"{_BLOCKING[audit.blocking]} {_EXECUTE}" if audit.blocking is not None else _EXECUTE
    return f"{audit.description or call}\n\n{acts}"


def _check_metadata(audit: SQLMeshAudit) -> dict[str, Any]:
    """The same names as on results, whose query is the one that ran."""
    metadata = {
        "Arguments": audit.arguments,
        "Blocking": audit.blocking,
        "Query": audit.query,
        LINK: dg.MetadataValue.url(audit.link) if audit.link else None,
    }
    return {name: value for name, value in metadata.items() if value is not None}


def adds_event_metadata(translator: DagsterSQLMeshTranslator) -> bool:
    return type(translator).get_event_metadata is not DagsterSQLMeshTranslator.get_event_metadata


def _description(model: SQLMeshModel) -> str | None:
    """The author's text first: Dagster's lists show the beginning, and as raw Markdown."""
    link = f"[View in {model.cloud}]({model.link})" if model.link else None
    text = model.description or (model.model_name if link else None)
    return "\n\n".join(part for part in (text, link) if part) or None


def _metadata(model: SQLMeshModel) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if model.link:
        metadata[LINK] = dg.MetadataValue.url(model.link)
    # Dagster refuses two assets with one table name; so only one environment says it, and nothing that others load.
    if model.environment == PRODUCTION and model.source_type != "external":
        metadata[TABLE_NAME] = table_name(model)
    return metadata


def table_name(model: SQLMeshModel) -> str:
    """As people write it: parts that are no plain words are quoted, so that no two models share a name."""
    return ".".join(
        part if re.fullmatch(r"[\w$-]+", part) else '"' + part.replace('"', '""') + '"' for part in model.asset_key.path
    )


def _kinds(model: SQLMeshModel) -> set[str]:
    # An external model has been a "table" in Dagster from the beginning.
    kind = "table" if model.source_type == "external" else model.source_type
    return {"sqlmesh", kind} if kind else {"sqlmesh"}


def _group_name(model: SQLMeshModel) -> str | None:
    for tag in model.tags:
        if tag.startswith(GROUP_NAME_TAG):
            return valid_group_name(tag[len(GROUP_NAME_TAG) :], model)
    return None


def valid_group_name(name: str, model: SQLMeshModel) -> str | None:
    """`name` as Dagster takes it on every version; None if nothing is left of it."""
    if _GROUP_NAME.fullmatch(name):
        return name
    valid = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_") or None
    model.adjustments.append(f"the group name {name!r} of {model.model_name} is {_now(valid)}")
    return valid


def _owners(model: SQLMeshModel) -> list[str]:
    owners: dict[str, None] = {}
    for tag in model.tags:
        if not tag.startswith(OWNER_TAG):
            continue
        owner = tag[len(OWNER_TAG) :].strip()
        if not (_EMAIL.fullmatch(owner) or _TEAM.fullmatch(owner)):
            name = re.sub(r"[^A-Za-z0-9_-]+", "_", owner[5:] if owner.startswith("team:") else owner).strip("_")
            valid = f"team:{name}" if name else None
            model.adjustments.append(f"the owner {owner!r} of {model.model_name} is {_now(valid)}")
            owner = valid or ""
        if owner:
            owners[owner] = None
    return list(owners)


def _tags(model: SQLMeshModel) -> dict[str, str]:
    """SQLMesh's tags have no values, as those of dbt."""
    tags: dict[str, str] = {}
    for tag in model.tags:
        if tag.startswith((GROUP_NAME_TAG, OWNER_TAG)):
            continue
        valid: str | None = tag
        # `dagster/` is Dagster's own, and so are the tags of this package.
        if not _TAG.fullmatch(tag) or tag.startswith(("dagster/", "tobiko/")):
            valid = re.sub(r"[^A-Za-z0-9_.-]+", "_", tag).strip("_")[:63] or None
            model.adjustments.append(f"the tag {tag!r} of {model.model_name} is {_now(valid)}")
        if valid:
            tags[valid] = ""
    return tags


def _now(valid: str | None) -> str:
    return f"{valid!r} in Dagster" if valid else "left out in Dagster"
