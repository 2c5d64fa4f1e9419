"""Fixtures: a real Dagster instance for each test, and an executable that plays a script."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import dagster as dg
import pytest
from cloud_server import executable_under_test
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from fake_cloud import FakeCloud
from postgres import Postgres, postgres
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud
from scripted_cloud import ScriptedCloud, scripted_cloud

SUPPORT = Path(__file__).parents[1] / "support"
MEMORY = Path("/dev/shm")
ENOUGH_BYTES = 256 << 20
EXECUTABLE = executable_under_test()  # before a test hides the variable
TEST_MESSAGES = os.environ.get("TOBIKO_TEST_MESSAGES") or ""
REPOSITORY = Path(__file__).parents[2]
# Where Dagster keeps its runs and events: "sqlite" or "postgres".
STORAGE = os.environ.get("TEST_STORAGE") or "sqlite"
CONFIGURATION = "telemetry:\n  enabled: false\n"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dagster home whose databases are made already: copying it takes less than making them."""
    home = tmp_path_factory.mktemp("empty-home")
    make_tables(home, CONFIGURATION)
    return home


@pytest.fixture(scope="session")
def empty_database(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same in PostgreSQL."""
    database = postgres_server.create_database()
    make_tables(tmp_path_factory.mktemp("home"), CONFIGURATION + postgres_server.dagster_yaml(database))
    return database


def make_tables(home: Path, configuration: str) -> None:
    (home / "dagster.yaml").write_text(configuration)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
        instance.get_asset_records()
        instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(dg.AssetKey("a"), "c"), limit=1)


@pytest.fixture(autouse=True)
def a_process_that_has_loaded_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster remembers how definitions were loaded last: one process, one code location."""
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)


@pytest.fixture
def fast_folder(tmp_path: Path) -> Iterator[Path]:
    """For databases, in memory where there is room: how long a disk takes to keep its promises is not what is tested."""
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ENOUGH_BYTES:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="tobiko-facade-test-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def home(request: pytest.FixtureRequest, fast_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Dagster home of the test's own, its databases empty. No variable of the developer's reaches a test."""
    home = fast_folder / "dagster_home"
    if STORAGE == "postgres":
        server: Postgres = request.getfixturevalue("postgres_server")
        database = server.create_database(request.getfixturevalue("empty_database"))
        home.mkdir()
        (home / "dagster.yaml").write_text(CONFIGURATION + server.dagster_yaml(database))
    else:
        shutil.copytree(request.getfixturevalue("empty_home"), home)
    for name in list(os.environ):
        if name.startswith(("TCLOUD_", "TOBIKO_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("TCLOUD_HOME", str(tmp_path / "tcloud"))
    return home


@pytest.fixture
def instance(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


class Script:
    """What the scripted executable plays; see scripted_executable.py."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._script: dict[str, Any] = {}

    def __call__(self, **commands: Any) -> None:
        self._script.update(commands)
        self.path.write_text(json.dumps(self._script))

    def calls(self, command: str) -> list[dict[str, Any]]:
        calls = self.path.with_suffix(self.path.suffix + ".calls")
        lines = calls.read_text().splitlines() if calls.exists() else []
        return [call for call in map(json.loads, lines) if call["argv"][0] == command]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setenv("TOBIKO_FACADE_EXECUTABLE", str(SUPPORT / "scripted_executable.py"))
    monkeypatch.setenv("TCLOUD_BASE_URL", "http://cloud.test/project")
    path = tmp_path / "script.json"
    monkeypatch.setenv("SCRIPTED_EXECUTABLE", str(path))
    return Script(path)


@pytest.fixture
def definitions(script: Script) -> Callable[..., dg.Definitions]:
    """Definitions from a scripted manifest."""
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    def make(manifest: dict[str, Any], **arguments: Any) -> dg.Definitions:
        script(definitions=manifest)
        facade = SQLMeshEnterpriseDagster(url=os.environ["TCLOUD_BASE_URL"])
        return facade.create_definitions(**{"environment": manifest["environment"], **arguments})

    return make


@pytest.fixture
def executable(monkeypatch: pytest.MonkeyPatch) -> str:
    """The real one."""
    path = EXECUTABLE
    if not path:
        pytest.fail("the executable is not there: build it, and set TOBIKO_FACADE_EXECUTABLE")
    monkeypatch.setenv("TOBIKO_FACADE_EXECUTABLE", str(path))
    monkeypatch.setenv("TOBIKO_FACADE_POLL_INTERVAL_S", "0.2")
    return str(path)


@pytest.fixture(scope="session")
def test_messages() -> str:
    """The test binary that sends numbered messages in the executable's place: beside a debug executable, else built now."""
    path = TEST_MESSAGES or (shutil.which(Path(EXECUTABLE).with_name("test-messages")) if EXECUTABLE else None)
    if not path:
        subprocess.run(["cargo", "build", "--quiet", "--locked", "-p", "test_messages"], cwd=REPOSITORY, check=True)
        target = Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
        path = str(target / "debug" / "test-messages")
    return str(path)


@pytest.fixture
def cloud(executable: str, fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A local cloud that lets everybody in."""
    yield from _serve(executable, fast_folder, monkeypatch, locked=False)


@pytest.fixture
def locked_cloud(executable: str, fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A local cloud that wants an OAuth client."""
    yield from _serve(executable, fast_folder, monkeypatch, locked=True)


@pytest.fixture
def fake_cloud(executable: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCloud]:
    """A cloud that answers what the test gives it."""
    with FakeCloud.pretended(monkeypatch) as cloud:
        yield cloud


@pytest.fixture
def scripted(executable: str, fast_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedCloud]:
    """A local cloud with runs and faults by order of the test."""
    with scripted_cloud(executable, fast_folder) as cloud:
        monkeypatch.setenv("TCLOUD_BASE_URL", cloud.base_url)
        yield cloud


def _serve(executable: str, folder: Path, monkeypatch: pytest.MonkeyPatch, locked: bool) -> Iterator[Cloud]:
    cloud = Cloud(executable, folder, dict(os.environ), locked)
    monkeypatch.setenv("TCLOUD_BASE_URL", cloud.base_url)
    monkeypatch.setenv("TCLOUD_TOKEN_URL", cloud.token_url)
    monkeypatch.setenv("TCLOUD_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("TCLOUD_CLIENT_SECRET", CLIENT_SECRET)
    try:
        yield cloud
    finally:
        cloud.stop()


@pytest.fixture
def load() -> Callable[..., dg.Definitions]:
    """Definitions from the cloud that TCLOUD_BASE_URL names."""
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster

    def load(facade: dict[str, Any] | None = None, **arguments: Any) -> dg.Definitions:
        url = os.environ["TCLOUD_BASE_URL"]
        return SQLMeshEnterpriseDagster(**{"url": url, **(facade or {})}).create_definitions(**arguments)

    return load
