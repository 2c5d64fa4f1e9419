"""Which models of an environment a code location declares: patterns as SQLMesh's `--select-model` takes them.

A pattern is a name with wildcards (`shop.orders`, `shop.*`) or a tag (`tag:daily`, `tag:pii_*`). A `+` before it adds
what is upstream, one behind it what is downstream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ._errors import TobikoFacadeError
from ._manifest import Node

_TAG = "tag:"


@dataclass(frozen=True)
class Pattern:
    """One pattern, as it was given and taken apart."""

    text: str
    body: str
    is_tag: bool
    upstream: bool
    downstream: bool

    @staticmethod
    def parse(text: str) -> Pattern:
        """Takes a pattern apart.

        Raises:
            TobikoFacadeError: It is nothing that can be selected by.
        """
        body = text.strip()
        upstream, downstream = body.startswith("+"), body.endswith("+")
        body = body.strip("+").strip()
        is_tag = body.startswith(_TAG)
        body = body[len(_TAG) :] if is_tag else body
        if not body or (":" in body and not is_tag):
            raise TobikoFacadeError(
                f"{text!r} selects no models: give a name with wildcards ('shop.*'), 'tag:daily', or one of these with "
                "a + before it (and what is upstream) or behind it (and what is downstream)"
            )
        return Pattern(text, body, is_tag, upstream, downstream)

    def matches(self, node: Node) -> bool:
        if self.is_tag:
            return any(fnmatchcase(tag, self.body) for tag in node.tags)
        return self.matches_name(node.model_name) or self.matches_name(node.name)

    def matches_name(self, name: str) -> bool:
        """Also without its quotes, and without its catalog."""
        plain = name.replace('"', "")
        return any(fnmatchcase(one, self.body) for one in (name, plain, *_without_catalog(plain)))


def _without_catalog(name: str) -> Sequence[str]:
    _, dot, rest = name.partition(".")
    return (rest,) if dot and "." in rest else ()


@dataclass(frozen=True)
class Selection:
    """What is included, less what is excluded. Without patterns: everything."""

    include: tuple[Pattern, ...] | None
    exclude: tuple[Pattern, ...]

    @staticmethod
    def of(include: Iterable[str] | None, exclude: Iterable[str]) -> Selection:
        """From the patterns of a user.

        Raises:
            TobikoFacadeError: One of them is nothing that can be selected by.
        """
        return Selection(
            include=None if include is None else tuple(map(Pattern.parse, include)),
            exclude=tuple(map(Pattern.parse, exclude)),
        )

    @property
    def is_everything(self) -> bool:
        return self.include is None and not self.exclude

    def left_out(self, nodes: Sequence[Node]) -> tuple[frozenset[str], tuple[str, ...]]:
        """The names of the nodes that are not declared, and the patterns that match nothing.

        A standalone audit goes with the models that it covers, unless a pattern is about the audit itself.
        """
        if self.is_everything:
            return frozenset(), ()
        graph = _Graph.of(nodes)
        unmatched: list[str] = []

        def selected(patterns: Iterable[Pattern]) -> set[str]:
            found: set[str] = set()
            for pattern in patterns:
                matched = graph.selected(pattern)
                if not matched:
                    unmatched.append(pattern.text)
                found |= matched
            return found

        excluded = selected(self.exclude)
        included = graph.nodes.keys() if self.include is None else selected(self.include)
        kept = {name for name in included if name not in excluded}
        for node in nodes:
            covered = [parent for parent in node.parents if graph.nodes[parent].type == "model"]
            if node.type == "audit" and covered and node.name not in excluded:
                explicitly = self.include is not None and node.name in included
                if explicitly or any(parent in kept for parent in covered):
                    kept.add(node.name)
                else:
                    kept.discard(node.name)
        return frozenset(graph.nodes.keys() - kept), tuple(unmatched)

    def leaves_out_unknown(self, node_name: str) -> bool:
        """Whether a node that is newer than the code location will be left out, as far as its name tells."""
        if any(not pattern.is_tag and pattern.matches_name(node_name) for pattern in self.exclude):
            return True
        if self.include is None or any(one.is_tag or one.upstream or one.downstream for one in self.include):
            return False
        return not any(pattern.matches_name(node_name) for pattern in self.include)


@dataclass(frozen=True)
class _Graph:
    nodes: Mapping[str, Node]
    children: Mapping[str, Sequence[str]]

    @staticmethod
    def of(nodes: Sequence[Node]) -> _Graph:
        children: dict[str, list[str]] = {}
        for node in nodes:
            for parent in node.parents:
                children.setdefault(parent, []).append(node.name)
        return _Graph({node.name: node for node in nodes}, children)

    def selected(self, pattern: Pattern) -> set[str]:
        matched = {name for name, node in self.nodes.items() if pattern.matches(node)}
        found = set(matched)
        if pattern.upstream:
            found |= _reached(matched, lambda name: self.nodes[name].parents)
        if pattern.downstream:
            found |= _reached(matched, lambda name: self.children.get(name, ()))
        return found


def _reached(start: Iterable[str], next_of: Callable[[str], Iterable[str]]) -> set[str]:
    reached: set[str] = set()
    pending = list(start)
    while pending:
        for name in next_of(pending.pop()):
            if name not in reached:
                reached.add(name)
                pending.append(name)
    return reached
