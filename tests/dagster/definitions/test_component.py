"""The component: the commands of `dg`, its state in each mode, and the translation in YAML."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import MIRROR, SYNC
from recorded_cloud import CLIENT_ID, CLIENT_SECRET, Cloud, model, standalone

HAS_COMPONENTS = hasattr(dg, "StateBackedComponent")
needs_components = pytest.mark.skipif(not HAS_COMPONENTS, reason="state-backed components came with Dagster 1.12")
# At load: what Dagster calls so fetches the state whenever the code server starts, and keeps it in memory.
AT_LOAD, LOCAL, STORAGE = "LEGACY_CODE_SERVER_SNAPSHOTS", "LOCAL_FILESYSTEM", "VERSIONED_STATE_STORAGE"
EXAMPLE = Path(__file__).parents[3] / "examples" / "component"
STORED = [LOCAL, STORAGE]
SENSOR = "tobiko_cloud_track_prod"


@pytest.fixture
def project(fast_folder: Path, monkeypatch: Any, instance: Any) -> Any:
    from dg_project import DgProject

    return DgProject(fast_folder, monkeypatch, instance)


@pytest.fixture
def shop(cloud: Cloud) -> Cloud:
    cloud.environment(model("a", audits=("good",)), model("b", "a"), standalone("covering", "a"))
    return cloud


@pytest.fixture
def scripted_shop(script: Any) -> Any:
    """What the executable prints is the test's, and each call is noted."""
    script(definitions=s.manifest(s.node("a", checks=("good",)), s.node("b", "a")))
    return script


def attributes(mode: str | None = None, **more: Any) -> dict[str, Any]:
    state = {"defs_state": {"management_type": mode, "refresh_if_dev": False}} if mode else {}
    return {"url": "{{ env.TCLOUD_BASE_URL }}", **state, **more}


def why_not(project: Any) -> str:
    """Why the code location does not load."""
    with pytest.raises(Exception, match="Error while building definitions") as raised:
        project.load()
    return str(raised.value.__cause__)


def tables(repository: dg.RepositoryDefinition) -> set[str]:
    return {key.path[-1] for key in repository.asset_graph.get_all_asset_keys()}


@pytest.mark.skipif(HAS_COMPONENTS, reason="for a Dagster that is too old for components")
@pytest.mark.fast
def test_an_old_dagster_imports_the_package_and_is_told_which_one_the_component_needs() -> None:
    from tobikodata.scheduler_facades.dagster import SQLMeshComponent

    with pytest.raises(ImportError, match=r"needs Dagster 1\.12 or later"):
        SQLMeshComponent(url="http://cloud.test")
    with pytest.raises(ImportError, match=r"needs Dagster 1\.12 or later"):
        type("Mine", (SQLMeshComponent,), {})


@needs_components
def test_dg_lists_scaffolds_checks_and_launches(shop: Cloud, project: Any, instance: Any) -> None:
    run = shop.run("r1")
    run.evaluated("a", "good")
    run.end()

    component = "tobikodata.scheduler_facades.dagster.SQLMeshComponent"
    assert f'"{component}"' in project.dg("list", "components", "--json")
    project.dg("scaffold", "defs", component, "my_sqlmesh", "--url", shop.base_url, "--environment", "prod")
    assert shop.base_url in (project.defs / "my_sqlmesh" / "defs.yaml").read_text()
    project.dg("check", "yaml")

    listed = json.loads(project.dg("list", "defs", "--json").strip())
    assert [asset["asset_key"] for asset in listed["assets"]] == ["wh/s/a", "wh/s/b"]
    assert {check["key"] for check in listed["asset_checks"]} == {"wh/s/a:good", "wh/s/a:covering"}
    assert {job["name"] for job in listed["jobs"]} == {SYNC, MIRROR}
    assert [sensor["name"] for sensor in listed["sensors"]] == [SENSOR]

    project.dg("launch", "--job", SYNC)
    assert instance.get_latest_materialization_event(dg.AssetKey(["wh", "s", "a"]))


@needs_components
def test_dg_checks_definitions_and_refuses_an_attribute_that_there_is_not(scripted_shop: Any, project: Any) -> None:
    project.component(attributes())
    project.dg("check", "defs")
    project.component(attributes(enviroment="prod"))
    assert "enviroment" in project.dg("check", "yaml", exit_code=1)


@needs_components
def test_what_is_scaffolded_takes_the_url_from_the_environment(scripted_shop: Any, project: Any) -> None:
    component = "tobikodata.scheduler_facades.dagster.SQLMeshComponent"
    project.dg("scaffold", "defs", component, "my_sqlmesh")
    assert "{{ env.TCLOUD_BASE_URL }}" in (project.defs / "my_sqlmesh" / "defs.yaml").read_text()
    assert tables(project.load()) == {"a", "b"}


@needs_components
def test_all_arguments_and_a_translation_in_yaml(scripted_shop: Any, project: Any) -> None:
    scripted_shop(definitions=s.manifest(s.node("a", checks=("good",), cron="@hourly"), s.node("b", "a")))
    project.component(
        attributes(
            environment="{{ env('SQLMESH_ENVIRONMENT', 'prod') }}",
            asset_prefix="cloud",
            name="shop",
            enable_sensor_by_default=False,
            sensor_interval_seconds=10,
            group_by="schema",
            external_models="dependencies",
            external_asset_keys={"raw.orders": "dlt/orders"},
            include=["*.a"],
            exclude=["tag:internal"],
            freshness={"slack": "00:30:00"},
            dagster_graphql_host="localhost",
            dagster_graphql_port=3000,
            translation={
                "key": "mine/{{ model.table }}",
                "owners": ["team:{{ model.schema }}"],
                "tags": {"model": "{{ model.table }}"},
            },
        )
    )
    loaded = project.load()
    assert tables(loaded) == {"a"}
    asset = loaded.asset_graph.get(dg.AssetKey(["cloud", "mine", "a"]))
    assert (asset.group_name, asset.owners, asset.tags["model"]) == ("s", ["team:s"], "a")
    assert [check.to_user_string() for check in loaded.asset_graph.asset_check_keys] == ["cloud/mine/a:good"]
    assert asset.freshness_policy.fail_window.to_timedelta() == timedelta(minutes=90)
    (sensor,) = loaded.sensor_defs
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert sensor.minimum_interval_seconds == 10
    assert "shop" in sensor.name


@needs_components
def test_a_translation_that_fails_names_the_model(scripted_shop: Any, project: Any) -> None:
    project.component(attributes(translation={"group_name": "{{ model.no_such_field }}"}))
    reason = why_not(project)
    assert "SQLMeshComponent.get_asset_spec raised" in reason
    assert "no_such_field" in reason


@needs_components
def test_two_components_need_a_name_and_a_prefix(scripted_shop: Any, project: Any) -> None:
    project.component(attributes())
    for clashing, remedy in (({}, 'name="..."'), ({"name": "crm"}, "asset_prefix=...")):
        project.component(attributes(**clashing), "other")
        assert remedy in why_not(project)
    project.component(attributes(name="crm", exclude=["*"]), "other")
    assert {sensor.name for sensor in project.load().sensor_defs} == {SENSOR, "tobiko_cloud_track_crm_prod"}


SUBCLASS = """
from dataclasses import dataclass

from tobikodata.scheduler_facades.dagster import SQLMeshComponent


@dataclass
class Mine(SQLMeshComponent):
    suffix: str = ""

    def get_event_metadata(self, event):
        return {"Told by": "mine"}

    def get_asset_spec(self, model):
        if model.table == "b":
            return None
        return super().get_asset_spec(model).replace_attributes(group_name=f"{model.schema}_{self.suffix}")
"""


@needs_components
def test_a_subclass_overrides_what_is_declared_and_reported(shop: Cloud, project: Any, instance: Any) -> None:
    run = shop.run("r1")
    run.evaluated("a")
    run.end()
    (project.module / "components.py").write_text(SUBCLASS)
    project.component(attributes(suffix="group"), type_=f"{project.name}.components.Mine")
    loaded = project.load()
    assert tables(loaded) == {"a"}
    key = dg.AssetKey(["wh", "s", "a"])
    assert loaded.asset_graph.get(key).group_name == "s_group"
    assert loaded.get_job(SYNC).execute_in_process(instance=instance).success
    event = instance.get_latest_materialization_event(key)
    assert event.asset_materialization.metadata["Told by"].value == "mine"


@needs_components
@pytest.mark.parametrize("mode", STORED)
def test_without_a_state_loading_says_what_to_run_and_that_mends_it(
    scripted_shop: Any, project: Any, mode: str
) -> None:
    project.component(attributes(mode))
    assert "dg utils refresh-defs-state" in why_not(project)
    project.dg("utils", "refresh-defs-state")
    assert tables(project.load()) == {"a", "b"}


@needs_components
@pytest.mark.parametrize("mode", [AT_LOAD, *STORED])
def test_workers_get_the_state_of_the_code_server(scripted_shop: Any, project: Any, mode: str) -> None:
    """They do not ask the cloud, and do not take a newer state that was stored since."""
    project.component(attributes(mode))
    if mode != AT_LOAD:
        project.refresh()
    loaded = project.load()
    scripted_shop(definitions=s.manifest(s.node("a"), s.node("c", "a")))
    if mode == LOCAL:
        project.refresh()
    before = len(scripted_shop.calls("definitions"))
    worker = project.load_in_worker(loaded)
    assert tables(worker) == {"a", "b"}
    assert "wh_s_b" in worker.get_job(MIRROR).graph.node_dict
    assert len(scripted_shop.calls("definitions")) == before


@needs_components
@pytest.mark.parametrize("mode", STORED)
def test_while_the_cloud_is_away_what_is_stored_stays_and_is_declared(
    scripted_shop: Any, project: Any, monkeypatch: Any, mode: str
) -> None:
    project.component(attributes(mode))
    project.refresh()
    # The executable prints the manifest that it has kept on disk, of whatever age.
    kept = {"saved_at": "2026-01-01T00:00:00Z", "reason": "the cloud is away"}
    scripted_shop(definitions=s.manifest(s.node("old"), kept=kept))
    with pytest.raises(Exception, match="was not refreshed: the cloud is away"):
        project.refresh()

    # In development, where loading refreshes.
    project.component({"url": "{{ env.TCLOUD_BASE_URL }}", "defs_state": {"management_type": mode}})
    monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
    assert tables(project.load()) == {"a", "b"}
    # The kept one has gone, too.
    scripted_shop(definitions={"error": "the cloud is away", "exit": 3})
    assert tables(project.load()) == {"a", "b"}


@needs_components
@pytest.mark.parametrize("mode", [AT_LOAD, *STORED])
def test_a_model_that_the_sensor_finds_arrives_without_a_redeploy(
    shop: Cloud, project: Any, instance: Any, mode: str, monkeypatch: Any
) -> None:
    from tobikodata.scheduler_facades.dagster._sensor import reload

    reloads: list[str] = []
    monkeypatch.setattr(reload, "_ask", lambda _, location, __: reloads.append(location))
    project.component(attributes(mode, dagster_graphql_host="localhost"))
    if mode != AT_LOAD:
        project.refresh()
    loaded = project.load()
    cursor = tick(loaded, instance, None)

    shop.environment(model("a"), model("b", "a"), model("c", "b"), at=1500.0)
    run = shop.run("r1")
    run.evaluated("c")
    run.end()
    tick(loaded, instance, cursor)
    assert reloads == ["my_location"]
    assert tables(project.load()) == {"a", "b", "c"}


@needs_components
@pytest.mark.parametrize("mode", [AT_LOAD, *STORED])
def test_no_secret_is_stored(locked_cloud: Cloud, project: Any, home: Path, mode: str) -> None:
    locked_cloud.environment(model("a"))
    project.component(
        attributes(
            mode,
            oauth_client_id=CLIENT_ID,
            oauth_client_secret="{{ env.TCLOUD_CLIENT_SECRET }}",
        )
    )
    if mode != AT_LOAD:
        project.refresh()
    loaded = project.load()
    assert tables(loaded) == {"a"}
    assert CLIENT_SECRET not in repr(loaded.repository_load_data)
    for folder in (project.folder, home):
        for path in folder.rglob("*"):
            assert not path.is_file() or CLIENT_SECRET.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("prefix", [(), ("cloud",)])
def test_asset_specs_alone(scripted_shop: Any, prefix: tuple[str, ...]) -> None:
    from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster, load_sqlmesh_asset_specs

    nodes = [s.node(name, key=[*prefix, "wh", "s", name]) for name in ("a", "b")]
    scripted_shop(definitions=s.manifest(*nodes))
    sqlmesh = SQLMeshEnterpriseDagster(url="http://cloud.test")
    specs = load_sqlmesh_asset_specs(sqlmesh, asset_prefix="".join(prefix) or None, group_by="schema")
    assert [spec.key for spec in specs] == [dg.AssetKey([*prefix, "wh", "s", name]) for name in ("a", "b")]
    assert {spec.group_name for spec in specs} == {"s"}


@needs_components
def test_the_example_project_loads(script: Any, fast_folder: Path, monkeypatch: Any, instance: Any) -> None:
    from dg_project import DgProject

    seed, report = ["coffee", "seeds", "shops"], ["coffee", "sales", "revenue_by_shop"]
    script(definitions=s.manifest(s.node("shops", key=seed, kind="seed"), s.node("revenue_by_shop", key=report)))
    loaded = DgProject(fast_folder, monkeypatch, instance, EXAMPLE, "coffee").load()
    assets = {key.path[-1]: loaded.asset_graph.get(key) for key in loaded.asset_graph.get_all_asset_keys()}
    assert assets["shops"].owners == ["team:reference-data"]
    assert (assets["revenue_by_shop"].group_name, assets["revenue_by_shop"].tags["schema"]) == ("sales", "sales")
    assert assets["revenue_report"].parent_keys == {dg.AssetKey(report)}


def tick(loaded: dg.RepositoryDefinition, instance: Any, cursor: str | None) -> str | None:
    from dagster._core.remote_origin import GrpcServerCodeLocationOrigin

    sensor = loaded.get_sensor_def(SENSOR)
    context = dg.build_sensor_context(instance=instance, cursor=cursor, repository_def=loaded, sensor_name=sensor.name)
    context._code_location_origin = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="my_location")
    with context:
        return sensor.evaluate_tick(context).cursor
