"""Checks what the documentation refers to: links, repository paths, test files, make targets, and quoted messages.

A heading of the form "### `message`" in docs/troubleshooting.md quotes what the program prints; `…` in it stands for
what varies. The parts between have to be in the sources: a message is not reworded without its explanation.
Prints what it did not find and ends with 1.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TROUBLESHOOTING = "docs/troubleshooting.md"
# History: names what is gone, too.
NOT_READ = ("CHANGELOG.md",)
SOURCES = re.compile(r"^(crates/.*/(src|templates)/.*|python_wrapper/src/.*\.py)$")


def main() -> int:
    files = tracked_files()
    documents = [name for name in files if name.endswith(".md") and name not in NOT_READ]
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    problems = []
    for name in documents:
        text = (ROOT / name).read_text()
        problems += [f"{name}: link to {target}" for target in broken_links(name, text)]
        problems += [f"{name}: path {path}" for path in missing_paths(text, files)]
        problems += [
            f"{name}: make {target}" for target in re.findall(r"`make ([a-z][a-z-]*)", text) if target not in targets
        ]
    if TROUBLESHOOTING in files:
        said = messages(files)
        for quote in re.findall(r"^### `(.+)`$", (ROOT / TROUBLESHOOTING).read_text(), re.MULTILINE):
            missing = [part for part in re.split(r"\s*…\s*", quote) if normal(part) not in said]
            problems += [f"{TROUBLESHOOTING}: no source says {part!r}" for part in missing]
    for problem in problems:
        print(f"not found: {problem}", file=sys.stderr)
    return 1 if problems else 0


def tracked_files() -> list[str]:
    """The repository's files, new ones included; of a source without git, all that are there."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True)
    names = done.stdout.splitlines() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*")]
    return sorted(name for name in names if (ROOT / name).is_file())


def broken_links(name: str, text: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            yield target


def anchors(text: str) -> set[str]:
    """Of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def missing_paths(text: str, files: list[str]) -> Iterator[str]:
    """Paths in backticks that begin with a folder of the repository, and test files by their name."""
    folders = {parent for name in files for parent in parents(name)}
    tops = {folder for folder in folders if "/" not in folder}
    for quoted in re.findall(r"`([^`\s]+)`", text):
        path = re.sub(r":\d+$", "", quoted).rstrip("/")
        if re.fullmatch(r"test_\w+\.py", path):
            if not any(name.endswith(f"/{path}") for name in files):
                yield path
        elif "/" in path and path.split("/")[0] in tops:
            for one in alternatives(path):
                if not (any((ROOT).glob(one)) if "*" in one else one in folders or one in files):
                    yield one


def parents(name: str) -> Iterator[str]:
    parts = name.split("/")
    return ("/".join(parts[:count]) for count in range(1, len(parts)))


def alternatives(path: str) -> list[str]:
    """`a/{b,c}` is both."""
    match = re.search(r"\{([^{}]*)\}", path)
    if not match:
        return [path]
    before, after = path[: match.start()], path[match.end() :]
    return [whole for one in match.group(1).split(",") for whole in alternatives(before + one + after)]


def messages(files: list[str]) -> str:
    """All source text, with literals that span lines put together."""
    text = "\n".join((ROOT / name).read_text() for name in files if SOURCES.match(name))
    text = re.sub(r"\\\n\s*", "", text)
    text = re.sub(r"[\"']\s*\n\s*[rf]{0,2}[\"']", "", text)
    return normal(text)


def normal(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace('\\"', '"').replace("\\'", "'"))


if __name__ == "__main__":
    sys.exit(main())
