"""The imports among the modules of a Python package, read from its source: those inside functions and those for type
checkers, too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from circles import SELF, Module


def python_imports(package: Path) -> Iterator[tuple[Module, Module]]:
    modules = {_module(file.relative_to(package.parent)): file for file in package.rglob("*.py")}
    full_name = _full_name(package)
    for module, file in modules.items():
        folder = module[:-1]  # what a leading dot means, in a module and in an `__init__`
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                targets = [tuple(alias.name.split(".")) for alias in node.names]
                found = [_inside(full_name, target) for target in targets]
            elif isinstance(node, ast.ImportFrom):
                name = tuple((node.module or "").split(".")) if node.module else ()
                base = (*folder[: len(folder) - node.level + 1], *name) if node.level else _inside(full_name, name)
                found = [(*base, alias.name) if base is not None else None for alias in node.names]
            else:
                continue
            for target in found:
                imported = _existing(modules, target)
                if imported is not None and imported != module:
                    yield module, imported


def _full_name(package: Path) -> Module:
    """The folders from `src` on: namespace packages have no file of their own."""
    parts = package.parts
    return parts[len(parts) - parts[::-1].index("src") :]


def _inside(full_name: Module, target: Module) -> Module | None:
    """`a.b.package.module` as a path from the package on."""
    return target[len(full_name) - 1 :] if target[: len(full_name)] == full_name else None


def _module(file: Path) -> Module:
    return (*file.parent.parts, SELF if file.stem == "__init__" else file.stem)


def _existing(modules: dict[Module, Path], target: Module | None) -> Module | None:
    """The module that an imported name is, or stands in."""
    while target:
        for candidate in (target, (*target, SELF)):
            if candidate in modules:
                return candidate
        target = target[:-1]
    return None
