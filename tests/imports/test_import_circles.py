"""Nothing imports in a circle: neither modules nor the folders that hold them, in no package and no crate."""

from __future__ import annotations

from pathlib import Path

import pytest
from circles import circles
from python_imports import python_imports
from rust_imports import rust_imports

pytestmark = pytest.mark.fast

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    file.parent
    for file in (ROOT / "python_wrapper/src").rglob("__init__.py")
    if not (file.parent.parent / "__init__.py").exists()
)
CRATES = sorted(file.parent for file in ROOT.glob("crates/*/Cargo.toml"))

# What is still to be untied; nothing new may join it.
KNOWN: set[str] = set()


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_python_modules_import_each_other(package: Path) -> None:
    assert circles(python_imports(package)) - KNOWN == set()


@pytest.mark.parametrize("crate", CRATES, ids=lambda path: path.name)
def test_no_rust_modules_import_each_other(crate: Path) -> None:
    assert circles(rust_imports(crate)) - KNOWN == set()


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.py": "from .b import x", "b.py": "def f():\n    from .a import y"}, {"pkg: a, b"}),
        ({"a.py": "from . import b", "b.py": "import src.pkg.a"}, set()),  # `src` is not a package
        ({"a.py": "from . import b", "b.py": "import pkg.a"}, {"pkg: a, b"}),
        (
            {"one/a.py": "from ..two.b import x", "two/c.py": "from ..one.d import y", "one/d.py": "", "two/b.py": ""},
            {"pkg: one, two"},
        ),
        ({"one/__init__.py": "from .a import x", "one/a.py": "from . import x"}, {"pkg/one: (itself), a"}),
        ({"one/__init__.py": "from .a import x", "one/a.py": "from . import b", "one/b.py": ""}, set()),
        ({"a.py": "from .b import x", "b.py": "from .c import y", "c.py": "import json"}, set()),
    ],
)
def test_a_circle_of_python_modules_is_found(tmp_path: Path, files: dict[str, str], found: set[str]) -> None:
    package = written(tmp_path / "src" / "pkg", {"__init__.py": "", **files})
    assert circles(python_imports(package)) == found


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a.rs": "use crate::b::X;", "b.rs": "fn f() { crate::a::g() }"}, {"krate: a, b"}),
        ({"a.rs": "use crate::{b::{X, Y}, c};", "b.rs": "", "c.rs": "use super::a;"}, {"krate: a, c"}),
        ({"a.rs": "// use crate::b;", "b.rs": 'use crate::a; const T: &str = "crate::b";'}, set()),
        ({"a.rs": "#[cfg(test)]\nmod tests { use crate::b; }", "b.rs": "use crate::a;"}, set()),
        ({"one/mod.rs": "mod a; use self::a::X;", "one/a.rs": "use super::Y;"}, {"krate/one: (itself), a"}),
        ({"one/mod.rs": "mod a; pub use a::X;", "one/a.rs": "use super::b;", "one/b.rs": ""}, set()),
        ({"lib.rs": "pub use a::X;", "a.rs": "use crate::b::Y;", "b.rs": "use crate::X;"}, {"krate: a, b"}),
        (
            {
                "one/a.rs": "use crate::two::b;",
                "one/mod.rs": "",
                "two.rs": "use crate::one::c;",
                "two/b.rs": "",
                "one/c.rs": "",
            },
            {"krate: one, two"},
        ),
    ],
)
def test_a_circle_of_rust_modules_is_found(tmp_path: Path, files: dict[str, str], found: set[str]) -> None:
    written(tmp_path / "krate" / "src", {"lib.rs": "", **files})
    assert circles(rust_imports(tmp_path / "krate")) == found
