"""The imports among the modules of a Rust crate: `crate::` and `super::` paths in its source, outside of inline tests.

A small reader, not a compiler: it knows groups (`use crate::{a, b::c}`) and follows re-exports (`pub use`), which are no
imports themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from circles import SELF, Module

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
STRING = re.compile(r'r#".*?"#|"(?:\\.|[^"\\])*"', re.DOTALL)
INLINE_TESTS = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))? )?mod \w+ \{")
TEST_MODULE = re.compile(r"#\[cfg\(test\)\]\s*(?:pub(?:\([^)]*\))? )?mod (\w+);")
PUBLIC_USE = re.compile(r"\bpub(?:\([^)]*\))? use ([^;]+);")
START = re.compile(r"\b(crate|super|self)::")
WORD = re.compile(r"\s*(\w+|\*)")


def rust_imports(crate: Path) -> Iterator[tuple[Module, Module]]:
    """`crate`: the folder with Cargo.toml."""
    source = crate / "src"
    code = {_module(crate.name, file.relative_to(source)): _code(file.read_text()) for file in source.rglob("*.rs")}
    tests = {(*folder_of(module), name) for module, text in code.items() for name in TEST_MODULE.findall(text)}
    code = {module: text for module, text in code.items() if not any(module[: len(test)] == test for test in tests)}
    # A module that has modules below it is its folder's own.
    folders = {module[:-1] for module in code}
    code = {(*module, SELF) if module in folders else module: text for module, text in code.items()}
    code = {module: _without_inline_tests(text) for module, text in code.items()}
    exports = {
        (*folder_of(module), path[-1]): path
        for module, text in code.items()
        for declared in PUBLIC_USE.findall(text)
        for path in _paths(declared, module, set(code))
    }
    for module, text in code.items():
        for path in _paths(PUBLIC_USE.sub("", text), module, set(code)):
            imported = _existing(set(code), exports, path)
            if imported is not None and imported != module:
                yield module, imported


def folder_of(module: Module) -> Module:
    """Where the modules below this one stand: `a/mod.rs` and `a.rs` have theirs in `a/`."""
    return module[:-1] if module[-1] == SELF else module


def _module(crate: str, file: Path) -> Module:
    if file.name in ("lib.rs", "main.rs", "mod.rs"):
        # A binary's root imports the library from outside.
        return (crate, *file.parent.parts, SELF if file.name != "main.rs" else "main")
    return (crate, *file.with_suffix("").parts)


def _code(text: str) -> str:
    return STRING.sub('""', COMMENT.sub("", text))


def _without_inline_tests(text: str) -> str:
    while found := INLINE_TESTS.search(text):
        end, depth = found.end(), 1
        while depth and end < len(text):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        text = text[: found.start()] + text[end:]
    return text


def _paths(text: str, module: Module, modules: set[Module]) -> Iterator[Module]:
    """Every path in the text that starts with `crate`, `super` or `self`, from the crate's name on. In a re-export
    (`pub use store::Row`) the first word may be a module below."""
    starts = list(START.finditer(text))
    if not starts and (word := WORD.match(text)):
        below = (*folder_of(module), word[1])
        if below in modules or (*below, SELF) in modules:
            yield from _tree(text[word.start(1) :], 0, folder_of(module))[0]
        return
    position = 0
    for start in starts:
        if start.start() < position:
            continue
        folder = {"crate": module[:1], "self": folder_of(module), "super": folder_of(module)[:-1]}[start[1]]
        end = start.end()
        while text.startswith("super::", end):
            folder, end = folder[:-1], end + len("super::")
        paths, position = _tree(text, end, folder)
        yield from paths


def _tree(text: str, position: int, prefix: Module) -> tuple[list[Module], int]:
    """The paths of `a::{b, c::d}` behind a prefix, and where they end."""
    while text[position : position + 1].isspace():
        position += 1
    if text[position : position + 1] == "{":
        found: list[Module] = []
        position += 1
        while position < len(text):
            while text[position : position + 1] and text[position] in " \n\t,":
                position += 1
            if text[position : position + 1] == "}":
                return found, position + 1
            paths, after = _tree(text, position, prefix)
            found += paths
            if alias := re.match(r"\s+as\s+\w+", text[after:]):
                after += alias.end()
            position = after if after > position else position + 1
        return found, position
    word = WORD.match(text, position)
    if not word:
        return [prefix], position
    path = (*prefix, word[1])
    position = word.end()
    if text.startswith("::", position) and not text.startswith("::<", position):
        return _tree(text, position + 2, path)
    return [path], position


def _existing(modules: set[Module], exports: dict[Module, Module], path: Module) -> Module | None:
    """The module that a path names, or whose item it names."""
    for length in range(len(path), 0, -1):
        head = path[:length]
        if head in modules:
            return head
        if head in exports and exports[head] != head:
            return _existing(modules, exports, exports[head])
        if (*head, SELF) in modules:
            return (*head, SELF)
    return None
