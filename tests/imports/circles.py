"""Finds circles among imports: of modules, and of the folders that hold them.

A graph has module paths like `("mirror", "task")`; the module of a folder itself (`__init__.py`, `mod.rs`, `lib.rs`) is
the folder's path with `SELF` behind it. An import counts at every level: that of `mirror/task` by `sensor/cursor` is also
one of the folder `mirror` by the folder `sensor`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

Module = tuple[str, ...]
SELF = "(itself)"


def circles(imports: Iterable[tuple[Module, Module]]) -> set[str]:
    """The groups of siblings that import each other, each as `folder: a, b, c`."""
    levels: dict[Module, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for importer, imported in imports:
        shared = 0
        while shared < min(len(importer), len(imported)) - 1 and importer[shared] == imported[shared]:
            shared += 1
        if importer[shared] != imported[shared]:
            levels[importer[:shared]][importer[shared]].add(imported[shared])
    return {
        f"{'/'.join(folder)}: {', '.join(sorted(group))}"
        for folder, edges in levels.items()
        for group in _strongly_connected(edges)
        if len(group) > 1
    }


def _strongly_connected(edges: dict[str, set[str]]) -> list[set[str]]:
    """Groups within which each reaches each. The graphs are small: by reachability."""
    reach = {node: _reachable(edges, node) for node in list(edges)}
    groups: list[set[str]] = []
    for node in reach:
        if not any(node in group for group in groups):
            groups.append({node} | {other for other in reach[node] if node in reach.get(other, ())})
    return groups


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    path = [start]
    while path:
        for node in edges.get(path.pop(), ()):
            if node not in found:
                found.add(node)
                path.append(node)
    return found
