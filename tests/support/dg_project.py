"""A project of `dg` in a folder, its commands, and its code location as a code server loads it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.definitions.reconstruct import (
    initialize_repository_def_from_pointer,
    reconstruct_repository_def_from_pointer,
)
from dagster._core.storage.defs_state.base import set_defs_state_storage
from dagster.components.core.component_tree import ComponentTree

REGISTRY = "dagster_dg_cli.registry_modules"
PACKAGE = "tobikodata.scheduler_facades.dagster"
COMPONENT = f"{PACKAGE}.SQLMeshComponent"
WRAPPER = Path(__file__).parents[2] / "python_wrapper"

DEFINITIONS = """
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""


class DgProject:
    """What `create-dagster project` makes, below a folder, under a module name that no other test has; or a copy."""

    def __init__(
        self, folder: Path, monkeypatch: Any, instance: dg.DagsterInstance, copy_of: Path | None = None, name: str = ""
    ) -> None:
        """`copy_of`: a project with the module `name`."""
        self.name = name or f"shop_{uuid.uuid4().hex[:8]}"
        self.folder = folder / self.name
        self.module = self.folder / "src" / self.name
        self.defs = self.module / "defs"
        if copy_of:
            shutil.copytree(copy_of, self.folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            self._write()
        self._instance = instance
        self._monkeypatch = monkeypatch
        # `dg` sets it for its process, which is the tests' here.
        monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "")
        monkeypatch.chdir(self.folder)
        # Dagster takes the first for the script's folder, and leaves it out.
        paths = [str(self.module.parent), *_registered(folder), str(self.folder)]
        for path in paths:
            monkeypatch.syspath_prepend(path)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]))

    def _write(self) -> None:
        self.defs.mkdir(parents=True)
        for package in (self.module, self.defs):
            (package / "__init__.py").touch()
        (self.module / "definitions.py").write_text(DEFINITIONS)
        (self.folder / "pyproject.toml").write_text(
            f'[project]\nname = "{self.name}"\nversion = "1"\n\n[tool.dg]\ndirectory_type = "project"\n\n'
            f'[tool.dg.project]\nroot_module = "{self.name}"\n'
        )

    def component(self, attributes: dict[str, Any], name: str = "my_sqlmesh", type_: str = COMPONENT) -> None:
        (self.defs / name).mkdir(exist_ok=True)
        # JSON is YAML.
        (self.defs / name / "defs.yaml").write_text(json.dumps({"type": type_, "attributes": attributes}))

    def dg(self, *arguments: str, exit_code: int = 0) -> str:
        """Runs a command in this process. Returns what it prints."""
        from click.testing import CliRunner
        from dagster_dg_cli.cli import create_dg_cli

        result = CliRunner().invoke(create_dg_cli(), list(arguments))
        self._monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "")
        DefinitionsLoadContext.set(None)  # type: ignore[arg-type]
        text = f"{result.output}\n{_with_causes(result.exception)}"
        assert result.exit_code == exit_code, text
        return text

    def refresh(self) -> None:
        """As `dg utils refresh-defs-state` does."""
        self._forget()
        with set_defs_state_storage(self._instance.defs_state_storage):
            for component in ComponentTree.for_project(self.folder).get_all_components(dg.StateBackedComponent):
                asyncio.run(component.refresh_state(self.folder))

    def load(self) -> dg.RepositoryDefinition:
        """As a code server does when it starts."""
        self._forget()
        with set_defs_state_storage(self._instance.defs_state_storage):
            return initialize_repository_def_from_pointer(self._pointer)

    def load_in_worker(self, loaded: dg.RepositoryDefinition) -> dg.RepositoryDefinition:
        """As a run or step worker does, with what the code server hands it."""
        self._forget()
        with set_defs_state_storage(self._instance.defs_state_storage):
            return reconstruct_repository_def_from_pointer(self._pointer, loaded.repository_load_data)

    @property
    def _pointer(self) -> CodePointer:
        return CodePointer.from_python_file(str(self.module / "definitions.py"), "defs", str(self.folder))

    def _forget(self) -> None:
        """A process of its own would know nothing of what was loaded before."""
        DefinitionsLoadContext.set(None)  # type: ignore[arg-type]
        for name in [name for name in sys.modules if name == "definitions" or name.startswith(self.name)]:
            del sys.modules[name]


def _registered(folder: Path) -> list[str]:
    """Where the package is registered as its pyproject.toml says: nowhere new, if it is installed from the wheel."""
    if any(entry.value == PACKAGE for entry in importlib.metadata.entry_points(group=REGISTRY)):
        return []
    import tomllib

    project = tomllib.loads((WRAPPER / "pyproject.toml").read_text())["project"]
    installed = folder / "installed" / "tobiko_cloud_scheduler_facade-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: 0\n")
    entries = "".join(f"{name} = {value}\n" for name, value in project["entry-points"][REGISTRY].items())
    (installed / "entry_points.txt").write_text(f"[{REGISTRY}]\n{entries}")
    return [str(installed.parent)]


def _with_causes(error: BaseException | None) -> str:
    lines = []
    while error is not None:
        lines.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
