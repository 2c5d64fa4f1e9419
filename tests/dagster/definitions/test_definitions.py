"""What a code location declares, and what it does while the cloud is away."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.definitions_load_context import DefinitionsLoadContext
from dagster._core.definitions.reconstruct import (
    initialize_repository_def_from_pointer,
    reconstruct_repository_def_from_pointer,
)
from dagster_runs import MIRROR, SYNC
from fake_cloud import FakeCloud

from tobikodata.scheduler_facades.dagster import (
    ENVIRONMENT_TAG,
    SQLMeshEnterpriseDagster,
    TobikoCloudResource,
)

pytestmark = pytest.mark.fast

PROJECT = s.manifest(
    s.node("raw", kind="table"),
    s.node("orders", "raw", checks=("not_null", "unique")),
    s.node("top", "orders"),
    {
        **s.node("covering", "orders"),
        "name": '"covering"',
        "type": "audit",
        "key": None,
        "op": "covering",
        "deps": [],
    },
)


def test_assets_are_external_with_all_that_is_known(definitions: Any) -> None:
    repository = definitions(PROJECT).get_repository_def()
    node = repository.asset_graph.get(dg.AssetKey(["wh", "s", "orders"]))
    assert node.is_external
    assert not node.is_executable
    assert node.parent_keys == {dg.AssetKey(["wh", "s", "raw"])}
    assert node.description.startswith("the model orders")
    assert node.kinds == {"sqlmesh", "sql"}
    assert node.tags[ENVIRONMENT_TAG] == "prod"
    assert {key.name for key in node.check_keys} == {"not_null", "unique"}
    assert len(repository.asset_graph.get_all_asset_keys()) == 3


def test_the_mirror_job_has_an_op_for_each_task_wired_as_the_dag(definitions: Any) -> None:
    job = definitions(PROJECT).get_job_def(MIRROR)
    assert {node.name for node in job.nodes} == {"wh_s_raw", "wh_s_orders", "wh_s_top", "covering"}
    above = {
        name: {
            output.node_name
            for _, outputs in job.graph.dependency_structure.input_to_upstream_outputs_for_node(name).items()
            for output in outputs
        }
        for name in ("wh_s_orders", "wh_s_top", "covering")
    }
    assert above == {
        "wh_s_orders": {"wh_s_raw"},
        "wh_s_top": {"wh_s_orders"},
        "covering": {"wh_s_orders"},
    }
    assert job.run_tags["dagster/retry_on_asset_or_op_failure"] == "false"


def test_the_sensor_is_on_unless_told_otherwise(definitions: Any) -> None:
    sensor = definitions(PROJECT).get_sensor_def("tobiko_cloud_track_prod")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30
    assert {target.job_name for target in sensor.targets} == {MIRROR, SYNC}
    off = definitions(PROJECT, enable_sensor_by_default=False).get_sensor_def("tobiko_cloud_track_prod")
    assert off.default_status == dg.DefaultSensorStatus.STOPPED


@pytest.mark.parametrize("environment", ["dev-alice", "release/1.2", "ünï", "e" * 100])
def test_odd_environment_names_load(definitions: Any, script: Any, environment: str) -> None:
    defs = definitions({**PROJECT, "environment": environment})
    repository = defs.get_repository_def()
    repository.load_all_definitions()
    assert f"--environment={environment}" in script.calls("definitions")[-1]["argv"]
    assert len(repository.get_all_jobs()) == 3  # with Dagster's own job of checks


def test_an_environment_without_models_has_jobs_and_sensor(definitions: Any) -> None:
    repository = definitions({**s.manifest(), "exists": False, "fingerprint": None}).get_repository_def()
    repository.load_all_definitions()
    assert {job.name for job in repository.get_all_jobs()} >= {MIRROR, SYNC}


def test_definitions_merge_with_the_users_and_with_another_environments(definitions: Any) -> None:
    prod = definitions(PROJECT)
    dev = definitions(
        {
            **s.manifest(s.node("orders", key=["dev", "wh", "s", "orders"], op="dev_wh_s_orders")),
            "environment": "dev",
        },
        asset_prefix="dev",
    )

    @dg.op
    def populate_asset_info() -> None: ...

    @dg.op
    def wh_s_orders() -> None: ...

    @dg.job
    def users_job() -> None:
        populate_asset_info()
        wh_s_orders()

    @dg.asset(deps=[dg.AssetKey(["wh", "s", "top"])])
    def users_asset() -> None: ...

    users = dg.Definitions(assets=[users_asset], jobs=[users_job], resources={"other": 1})
    merged = dg.Definitions.merge(users, prod, dev)
    repository = merged.get_repository_def()
    repository.load_all_definitions()
    assert {job.name for job in repository.get_all_jobs()} >= {
        "users_job",
        MIRROR,
        SYNC,
        "tobiko_cloud_mirror_run_dev",
        "tobiko_cloud_sync_dev",
    }
    assert len(merged.metadata) == 2  # a manifest each, for run and step workers


def test_two_environments_with_equal_assets_are_refused_with_the_remedy(definitions: Any) -> None:
    prod = definitions(PROJECT)
    dev = definitions({**PROJECT, "environment": "dev"})
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="asset_prefix"):
        dg.Definitions.merge(prod, dev)
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="asset_prefix"):
        dg.Definitions.merge(dg.Definitions.merge(dg.Definitions(), prod), dev)


def test_two_environments_with_equal_job_names_are_refused(definitions: Any) -> None:
    one = definitions({**PROJECT, "environment": "dev-alice"})
    other = definitions({**s.manifest(s.node("b")), "environment": "dev_alice"})
    with pytest.raises(dg.DagsterInvalidDefinitionError, match="a code location of its own"):
        dg.Definitions.merge(one, other)


def test_workers_are_handed_the_manifest_and_never_call_the_cloud(
    script: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    script(definitions=PROJECT)
    file = tmp_path / "definitions.py"
    file.write_text(
        "import dagster as dg\n"
        "from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster\n"
        "facade = SQLMeshEnterpriseDagster(url=dg.EnvVar('TCLOUD_BASE_URL'))\n"
        "defs = dg.Definitions.merge(dg.Definitions(), facade.create_definitions())\n"
    )
    pointer = CodePointer.from_python_file(str(file), "defs", None)
    loaded = initialize_repository_def_from_pointer(pointer)
    assert len(script.calls("definitions")) == 1

    script(definitions={"error": "out of reach", "exit": 3})
    monkeypatch.setattr(DefinitionsLoadContext, "_instance", None)  # what is loaded next would be a worker's too
    worker = reconstruct_repository_def_from_pointer(pointer, loaded.repository_load_data)
    assert len(worker.get_job(MIRROR).nodes) == 4
    assert len(script.calls("definitions")) == 1


@pytest.fixture
def project(fake_cloud: FakeCloud, monkeypatch: Any) -> FakeCloud:
    """Two models, and an executable that does not wait for a cloud that is away."""
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "0.2")
    fake_cloud.dags["prod"] = {"environment": "prod", "nodes": [{"name": "a"}, {"name": "b", "parent_names": ["a"]}]}
    return fake_cloud


@pytest.mark.parametrize("status", [400, 401, 403, 503])
def test_the_kept_manifest_serves_on_every_failure(
    project: FakeCloud, load: Any, home: Path, caplog: Any, status: int
) -> None:
    load()
    project.status = status
    defs = load()
    assert len(defs.get_job_def(MIRROR).nodes) == 2
    assert "are declared as they were then" in caplog.text
    assert project.base_url in caplog.text
    (file,) = (home / "tobiko-facade").glob("manifest-*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_kept_manifest_does_not_serve_for_an_environment_that_is_gone(project: FakeCloud, load: Any) -> None:
    load()
    project.dags.clear()
    assert len(load().get_job_def(MIRROR).nodes) == 0


@pytest.mark.parametrize("status", [400, 401, 403])
def test_without_a_kept_manifest_what_a_person_must_mend_is_one_clear_error(
    project: FakeCloud, load: Any, status: int
) -> None:
    project.status = status
    with pytest.raises(Exception, match=project.base_url) as error:
        load()
    assert "\n" not in str(error.value)


def test_without_a_kept_manifest_an_outage_loads_the_sensor_and_the_jobs(
    project: FakeCloud, load: Any, caplog: Any
) -> None:
    project.status = 503
    repository = load().get_repository_def()
    assert repository.has_sensor_def("tobiko_cloud_track_prod")
    assert {MIRROR, SYNC} <= set(repository.job_names)
    assert not repository.asset_graph.get_all_asset_keys()
    assert project.base_url in caplog.text


def test_a_kept_manifest_is_of_its_url_environment_and_prefix(project: FakeCloud, load: Any) -> None:
    load()
    project.status = 403
    for facade, arguments in (
        ({"url": project.base_url + "/other"}, {}),
        ({}, {"environment": "dev"}),
        ({}, {"asset_prefix": "p"}),
    ):
        with pytest.raises(Exception, match=project.base_url):
            load(facade, **arguments)


def test_a_corrupt_kept_manifest_is_none(project: FakeCloud, load: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_CACHE_DIR", str(tmp_path / "cache"))
    load()
    (file,) = (tmp_path / "cache").glob("manifest-*.json")
    file.write_text('{"manifest": ')
    project.status = 403
    with pytest.raises(Exception, match=project.base_url):
        load()


@pytest.mark.usefixtures("project")
def test_a_folder_that_cannot_be_written_does_not_matter(load: Any, monkeypatch: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOBIKO_FACADE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert load().get_job_def(MIRROR)


def test_no_answer_within_20_s_is_given_up(script: Any, monkeypatch: Any, caplog: Any) -> None:
    from tobikodata.scheduler_facades.dagster._launch import executable

    assert executable.TIME_LIMIT_S == 20
    monkeypatch.setattr(executable, "TIME_LIMIT_S", 0.5)
    script(definitions={"sleep": 30, **PROJECT})
    before = time.monotonic()
    SQLMeshEnterpriseDagster(url="http://cloud.test").create_definitions()
    assert "gave no answer" in caplog.text
    assert time.monotonic() - before < 5


def test_a_manifest_of_another_release_says_so(script: Any) -> None:
    script(definitions={**PROJECT, "version": 2})
    with pytest.raises(Exception, match="of different releases"):
        SQLMeshEnterpriseDagster(url="http://cloud.test").create_definitions()


def test_the_url_may_be_an_environment_variable(script: Any, monkeypatch: Any) -> None:
    script(definitions=PROJECT)
    monkeypatch.setenv("MY_URL", "http://cloud.test")
    facade = SQLMeshEnterpriseDagster(url=dg.EnvVar("MY_URL"), dagster_graphql_port=dg.EnvVar.int("NOT_SET"))
    assert facade.create_definitions().get_job_def(MIRROR)
    assert "http://cloud.test" in repr(facade)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"url": None}, "environment variable TCLOUD_BASE_URL"),
        ({"url": ""}, "environment variable TCLOUD_BASE_URL"),
        ({"url": dg.EnvVar("NOT_SET")}, "environment variable NOT_SET"),
        ({"url": "http://x", "token": "t", "oauth_client_id": "i"}, "both a token and an OAuth client id"),
        ({"url": "http://x", "oauth_client_secret": "hush"}, "without its client id"),
    ],
)
def test_bad_arguments_get_one_sentence(arguments: Any, said: str) -> None:
    with pytest.raises(Exception, match=said) as error:
        SQLMeshEnterpriseDagster(**arguments)
    assert "\n" not in str(error.value)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: None, "is not an executable file"),
        (lambda path: path.write_text("not executable"), "is not an executable file"),
        (
            lambda path: (path.write_bytes(b"\x7fELF nonsense"), path.chmod(0o755)),
            "built for another platform",
        ),
        (lambda path: (path.write_text("#!/no/such/interpreter\n"), path.chmod(0o755)), "cannot be started"),
    ],
)
def test_an_executable_that_does_not_work_gets_one_sentence(
    tmp_path: Path, monkeypatch: Any, make: Any, said: str
) -> None:
    path = tmp_path / "facade"
    make(path)
    monkeypatch.setenv("TOBIKO_FACADE_EXECUTABLE", str(path))
    with pytest.raises(Exception, match=said) as error:
        SQLMeshEnterpriseDagster(url="http://cloud.test").create_definitions()
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_executable_gets_one_sentence(monkeypatch: Any, tmp_path: Path) -> None:
    from tobikodata.scheduler_facades.dagster._launch import executable

    monkeypatch.delenv("TOBIKO_FACADE_EXECUTABLE", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(executable.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(executable.sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(Exception, match=r"neither in .* nor on PATH"):
        SQLMeshEnterpriseDagster(url="http://cloud.test").create_definitions()


def test_the_executable_beside_python_is_found(monkeypatch: Any, tmp_path: Path) -> None:
    from tobikodata.scheduler_facades.dagster._launch import executable

    monkeypatch.delenv("TOBIKO_FACADE_EXECUTABLE", raising=False)
    beside = tmp_path / "tobiko-facade"
    beside.write_text("#!/bin/sh\n")
    beside.chmod(0o755)
    monkeypatch.setattr(executable.sys, "executable", str(tmp_path / "python"))
    assert executable.find() == str(beside)


@pytest.mark.parametrize(
    ("installed", "too_old"),
    [
        ("1.9.0", True),
        ("1.8.13", True),
        ("0.15.1", True),
        ("1.9.1", False),
        ("1.13.27", False),
        ("1!0+dev", False),
    ],
)
def test_an_old_dagster_is_refused(installed: str, too_old: bool, monkeypatch: Any) -> None:
    from tobikodata.scheduler_facades.dagster import _version

    monkeypatch.setattr(_version.metadata, "version", lambda _: installed)
    if too_old:
        with pytest.raises(ImportError, match=r"needs 1\.9\.1 or later"):
            _version.require_dagster()
    else:
        _version.require_dagster()


def test_the_package_is_among_the_library_versions_of_a_code_location(tmp_path: Path, monkeypatch: Any) -> None:
    from tobikodata.scheduler_facades.dagster import _version
    from tobikodata.scheduler_facades.dagster._internals import DagsterLibraryRegistry

    monkeypatch.setattr(DagsterLibraryRegistry, "_libraries", {"dagster": dg.__version__})
    monkeypatch.setattr(sys, "path", [])
    _version.register_version()  # from sources: not installed
    assert DagsterLibraryRegistry.get() == {"dagster": dg.__version__}

    installed = tmp_path / "tobiko_cloud_scheduler_facade-2.0.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Name: tobiko-cloud-scheduler-facade\nVersion: 2.0.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    _version.register_version()
    assert DagsterLibraryRegistry.get()["tobiko-cloud-scheduler-facade"] == "2.0.0"


def test_the_originals_resource_is_accepted_and_keeps_no_secret(definitions: Any) -> None:
    resource = TobikoCloudResource(url="http://x", token="hush", oauth_client_secret="hush")
    assert "hush" not in repr(resource)
    assert "hush" not in str(vars(resource))
    seen: list[Any] = []

    @dg.op
    def users_op(tobiko_cloud: TobikoCloudResource) -> None:
        seen.append(tobiko_cloud)

    @dg.job
    def users_job() -> None:
        users_op()

    merged = dg.Definitions.merge(definitions(PROJECT), dg.Definitions(jobs=[users_job]))
    assert merged.get_job_def("users_job").execute_in_process().success
    assert isinstance(seen[0], TobikoCloudResource)


def test_importing_the_package_imports_no_other_that_dagster_has_not(executable: str) -> None:
    """Each code location, and each run, waits for it: a storage of Dagster's takes as long as all the rest."""
    code = (
        "import sys, dagster; before = set(sys.modules); import tobikodata.scheduler_facades.dagster;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before if sys.modules[name].__spec__})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"dagster", "email", "packaging", "tobikodata", *sys.stdlib_module_names}
