"""Fixtures of the recorder's tests. The truth comes from SQLMesh: its state, its tables, its exceptions."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project
from receiver import Receiver
from settings import set_only_settings
from sqlmesh.core import context_diff

from tobikodata import sqlmesh_recorder

os.environ["MAX_FORK_WORKERS"] = "1"  # small projects load faster without SQLMesh's loader processes
os.environ["SQLMESH__DISABLE_ANONYMIZED_ANALYTICS"] = "true"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process of the tests compiles all of SQLMesh anew
if "PYTHONPATH" in os.environ:  # those processes have another working directory
    folders = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, folders))

# Each plan calls it, and it reads the metadata of every installed package.
context_diff.metadata.packages_distributions = functools.cache(context_diff.metadata.packages_distributions)


@pytest.fixture(autouse=True)
def _settings(spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    set_only_settings(monkeypatch, spool)
    yield
    sqlmesh_recorder.uninstall()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def recorded(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    """The receiver, with the recorder installed in this process."""
    monkeypatch.setenv("TCLOUD_BASE_URL", receiver.url)
    sqlmesh_recorder.install()
    return receiver


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, planned with the first three days of January; made without the recorder."""
    project = Project(tmp_path_factory.mktemp("template") / "project")
    project.plan(day=4)
    return project


@pytest.fixture
def planned(template: Project, tmp_path: Path) -> Project:
    """A copy of the planned project."""
    return Project(tmp_path / "project", copy_of=template)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "spool.jsonl"
