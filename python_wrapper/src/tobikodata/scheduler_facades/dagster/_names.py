"""From the names that the executable reports to those of the assets and checks that a code location declares.

The executable computes all names from the cloud's. A translator may have changed them, and some may not be declared.
This map is applied where reported events come in: everything behind it knows only Dagster's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable

import dagster as dg

from ._events.messages import CheckResult, Event, Materialization, TaskResult, TaskStarted

# What a translator adds to an event, by name. May raise.
AddedMetadata = Callable[[Any], Any]


@dataclass(frozen=True)
class EventNames:
    """One environment's map. None as a value: not declared, so nothing of it is reported.

    A key that the map does not know passes unchanged: that of a model that is newer than the code location.
    """

    assets: Mapping[dg.AssetKey, dg.AssetKey | None] = field(default_factory=dict)
    checks: Mapping[dg.AssetCheckKey, dg.AssetCheckKey | None] = field(default_factory=dict)
    # The asset of each node that has one, by the node's name.
    assets_of_nodes: Mapping[str, dg.AssetKey | None] = field(default_factory=dict)
    # Whether a node, by its name, is left out of the code location: nothing is said of it.
    is_left_out: Callable[[str], bool] = lambda _: False
    added_metadata: AddedMetadata | None = None

    def asset(self, wire_key: dg.AssetKey) -> dg.AssetKey | None:
        return self.assets.get(wire_key, wire_key)

    def check(self, wire_key: dg.AssetCheckKey) -> dg.AssetCheckKey | None:
        if wire_key in self.checks:
            return self.checks[wire_key]
        # A check that is newer than the code location, of an asset that it declares under another key, or not at all.
        asset = self.asset(wire_key.asset_key)
        return dg.AssetCheckKey(asset, wire_key.name) if asset else None

    def asset_of_node(self, node_name: str) -> dg.AssetKey | None:
        return self.assets_of_nodes.get(node_name)

    def translate(self, event: Event) -> list[Event]:
        """The event with Dagster's names; nothing for a node that is left out."""
        if isinstance(event, (TaskResult, TaskStarted)) and self.is_left_out(event.node):
            return []
        return [self._translated(event)] if isinstance(event, TaskResult) else [event]

    def _translated(self, result: TaskResult) -> TaskResult:
        warnings: list[str] = []
        materializations: list[Materialization] = []
        for materialization in result.materializations:
            asset = self.asset(materialization.key)
            if asset is not None:
                named = replace(materialization, key=asset)
                materializations.append(replace(named, metadata=self._with_added(named, result.node, warnings)))
        checks: list[CheckResult] = []
        for check in result.checks:
            key = self.check(check.key)
            if key is not None:
                named_check = replace(check, key=key)
                checks.append(replace(named_check, metadata=self._with_added(named_check, result.node, warnings)))
        return replace(
            result,
            materializations=tuple(materializations),
            checks=tuple(checks),
            warnings=(*result.warnings, *dict.fromkeys(warnings)),
        )

    def _with_added(self, event: Materialization | CheckResult, node: str, warnings: list[str]) -> Mapping[str, Any]:
        """The event's own metadata wins. A translator that raises costs its metadata, never the event."""
        if self.added_metadata is None:
            return event.metadata
        try:
            added = self.added_metadata(event) or {}
            # Dagster's own check of what may be metadata: what it refuses would fail the step.
            values = dg.AssetMaterialization(event.key if isinstance(event, Materialization) else "x", metadata=added)
            return {**values.metadata, **event.metadata}
        except Exception as error:  # whatever the user's code raises
            name = f"{getattr(self.added_metadata, '__qualname__', 'get_event_metadata')}"
            warnings.append(f"{node}: {name} raised {type(error).__name__}: {error}; its metadata is left out")
            return event.metadata
