"""What the code location declares: a typed view of the JSON that `tobiko-facade definitions` prints.

All names (asset keys, ops, checks) are computed by the executable and used here as they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

VERSION = 1


class ManifestError(Exception):
    """The text is not a manifest that this version can read."""


@dataclass(frozen=True)
class Check:
    """An audit of a model, or a standalone audit that covers it."""

    name: str
    audit: str
    # The node whose evaluations carry its results. A model's own audit may have the name of a standalone one.
    node: str | None = None
    # What follows is None where the cloud does not say it.
    arguments: str | None = None
    blocking: bool | None = None
    query: str | None = None
    description: str | None = None
    link: str | None = None

    @staticmethod
    def from_json(data: dict[str, Any]) -> Check:
        details = ("node", "arguments", "blocking", "query", "description", "link")
        return Check(data["name"], data["audit"], **{name: data.get(name) for name in details})


@dataclass(frozen=True)
class Node:
    """A model, or a standalone audit (which has no asset: `key` is None)."""

    name: str
    type: str
    key: tuple[str, ...] | None
    op: str
    parents: tuple[str, ...]
    deps: tuple[tuple[str, ...], ...]
    kind: str | None
    description: str | None
    link: str | None
    checks: tuple[Check, ...]
    # As the user names it. Manifests that were kept by an older release lack it, and what follows.
    model_name: str = ""
    tags: tuple[str, ...] = ()
    # When the model is due, where the cloud says so.
    cron: str | None = None

    @staticmethod
    def from_json(data: dict[str, Any]) -> Node:
        key = data.get("key")
        return Node(
            name=data["name"],
            type=data["type"],
            key=tuple(key) if key else None,
            op=data["op"],
            parents=tuple(data.get("parents") or ()),
            deps=tuple(tuple(dep) for dep in data.get("deps") or ()),
            kind=data.get("kind"),
            description=data.get("description"),
            link=data.get("link"),
            checks=tuple(Check.from_json(check) for check in data.get("checks") or ()),
            model_name=data.get("model_name") or data["name"],
            tags=tuple(data.get("tags") or ()),
            cron=data.get("cron"),
        )


@dataclass(frozen=True)
class Kept:
    """Why a manifest is not the cloud's present one, and when it was."""

    saved_at: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """One environment of a SQLMesh project. `exists` is False while the cloud does not know it."""

    environment: str
    exists: bool
    fingerprint: str | None
    link: str | None
    # What the cloud is called in texts: "Tobiko Cloud", or "SQLMesh" where a local cloud answers.
    cloud: str
    warnings: tuple[str, ...]
    nodes: tuple[Node, ...]
    # Only where the executable kept it on disk.
    kept: Kept | None = None

    @staticmethod
    def empty(environment: str) -> str:
        """The JSON of one that declares nothing."""
        return json.dumps({"version": VERSION, "environment": environment, "exists": False, "nodes": []})

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Reads what the executable printed.

        Raises:
            ManifestError: It is not a manifest of this version.
        """
        try:
            data = json.loads(text)
            if data["version"] != VERSION:
                raise ManifestError(
                    f"the manifest has version {data['version']}, this package reads version {VERSION}: "
                    "the executable and the Python package are of different releases"
                )
            return Manifest(
                environment=data["environment"],
                exists=bool(data["exists"]),
                fingerprint=data.get("fingerprint"),
                link=data.get("link"),
                cloud=data.get("cloud") or "Tobiko Cloud",
                warnings=tuple(data.get("warnings") or ()),
                nodes=tuple(Node.from_json(node) for node in data["nodes"]),
                kept=Kept(data["kept"]["saved_at"], data["kept"]["reason"]) if data.get("kept") else None,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ManifestError(f"the manifest cannot be read ({type(error).__name__}: {error})") from None

    def without(self, names: Collection[str]) -> Manifest:
        """The manifest without these nodes. Deps on their assets stay."""
        if not names:
            return self
        nodes = (node for node in self.nodes if node.name not in names)
        return replace(
            self,
            nodes=tuple(
                replace(node, parents=tuple(parent for parent in node.parents if parent not in names)) for node in nodes
            ),
        )

    @cached_property
    def op_of(self) -> dict[str, str]:
        """The name of the op, by the name of the node."""
        return {node.name: node.op for node in self.nodes}

    @cached_property
    def asset_keys(self) -> frozenset[tuple[str, ...]]:
        return frozenset(node.key for node in self.nodes if node.key)
