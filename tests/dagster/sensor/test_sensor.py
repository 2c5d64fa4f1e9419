"""The sensor, tick by tick: against a real local cloud, with the test in the daemon's place."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import dagster as dg
import pytest
import scripted_messages as s
from dagster_runs import MIRROR, SYNC, Result, run_job
from recorded_cloud import Cloud, model

try:
    from dagster._core.remote_origin import GrpcServerCodeLocationOrigin  # newer ones
except ImportError:
    from dagster._core.remote_representation.origin import GrpcServerCodeLocationOrigin

ORIGIN = GrpcServerCodeLocationOrigin(host="localhost", port=1, location_name="my_location")


class Daemon:
    """Ticks the sensor and launches what it asks for, as Dagster's daemon does."""

    def __init__(self, defs: dg.Definitions, instance: Any, cursor: str | None = None) -> None:
        self.defs = defs
        self.instance = instance
        self.cursor = cursor
        self.said = ""
        self.runs: list[Result] = []

    def tick(self, launch: bool = True) -> list[str]:
        """One tick. Returns the run keys that were asked for."""
        sensor = self.defs.get_sensor_def("tobiko_cloud_track_prod")
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            repository_def=self.defs.get_repository_def(),
            sensor_name=sensor.name,
        )
        context._code_location_origin = ORIGIN
        with context:
            result = sensor.evaluate_tick(context)
        self.said = result.skip_message or ""
        self.cursor = result.cursor
        for request in result.run_requests or ():
            key = str(request.run_key)
            used = self.instance.get_runs(dg.RunsFilter(job_name=request.job_name, tags={"dagster/run_key": key}))
            assert not used, f"run key {key} is used: the daemon would not launch it"
            if launch:
                self.runs.append(
                    run_job(
                        self.defs,
                        self.instance,
                        str(request.job_name),
                        dict(request.run_config),
                        **{**request.tags, "dagster/run_key": key},
                    )
                )
        return [str(request.run_key) for request in result.run_requests or ()]

    def record(self) -> dict[str, Any]:
        return dict(json.loads(str(self.cursor)))


@pytest.fixture
def project(cloud: Cloud) -> Cloud:
    cloud.environment(model("a"))
    return cloud


def past(cloud: Cloud, run_id: str, at: float, *models: str) -> None:
    run = cloud.run(run_id, at)
    for name in models or ("a",):
        run.evaluated(name)
    run.end()


def unfinished(
    instance: Any, defs: dg.Definitions, key: str, status: str, job_name: str = MIRROR, location: str | None = None
) -> str:
    """A mirror (or a sync) in some state, without anybody who executes it."""
    job = defs.get_job_def(job_name)
    label = {".dagster/repository": f"__repository__@{location}"} if location else {}
    tags = {"dagster/run_key": key, "tobiko/run_id": key.split("#", 1)[0], **label}
    run = instance.create_run_for_job(job, tags=tags)
    event = {
        "STARTED": dg.DagsterEventType.RUN_START,
        "STARTING": dg.DagsterEventType.RUN_STARTING,
        "CANCELING": dg.DagsterEventType.RUN_CANCELING,
        "FAILURE": dg.DagsterEventType.RUN_FAILURE,
        "CANCELED": dg.DagsterEventType.RUN_CANCELED,
    }.get(status)
    if event:
        happened = dg.DagsterEvent(event_type_value=event.value, job_name=job_name)
        instance.report_dagster_event(happened, run.run_id)
    assert instance.get_run_by_id(run.run_id).status.value == status
    return str(run.run_id)


def test_first_a_sync_then_each_new_run_oldest_first(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "old", 2000.0)
    daemon = Daemon(load(), instance)
    assert daemon.tick() == ["__initial_sync__"]
    assert daemon.tick() == []
    assert daemon.said == "no new remote run"
    for number in (1, 2, 3):
        past(project, f"r{number}", 3000.0 + 100 * number)
    assert [daemon.tick() for _ in range(2)] == [["r1", "r2", "r3"], []]
    assert all(run.success for run in daemon.runs)
    assert [run.tags["tobiko/run_id"] for run in daemon.runs[1:]] == ["r1", "r2", "r3"]
    assert sum(len(run.materializations()) for run in daemon.runs) == 4


def test_a_run_in_progress_at_the_first_tick_is_mirrored(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "old", 2000.0)
    run = project.run("going", 3000.0)
    run.started("a")
    daemon = Daemon(load(), instance)
    assert daemon.tick(launch=False) == ["__initial_sync__", "going"]
    run.ended("a")
    run.end()
    past(project, "next", 4000.0)
    unfinished(instance, daemon.defs, "going", "CANCELED")
    assert daemon.tick() == ["next"]


def test_without_any_run_all_runs_are_new(project: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    assert daemon.tick() == ["__initial_sync__"]
    assert daemon.tick() == []
    past(project, "r1", 3000.0)
    past(project, "r2", 4000.0)
    assert daemon.tick() == ["r1", "r2"]


def test_the_newest_25_of_40_missed_runs_are_mirrored(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "r0", 1500.0)
    daemon = Daemon(load(), instance)
    daemon.tick()
    for number in range(1, 41):
        project.run(f"r{number}", 2000.0 + 10 * number).end()
    for first in (16, 21, 26, 31, 36):
        keys = [f"r{number}" for number in range(first, first + 5)]
        assert daemon.tick(launch=False) == keys
        for key in keys:
            unfinished(instance, daemon.defs, key, "CANCELED")
    assert daemon.tick() == []


@pytest.mark.parametrize("status", ["NOT_STARTED", "STARTED"])
def test_the_next_is_asked_for_when_the_mirror_before_has_ended(
    project: Cloud, load: Any, instance: Any, status: str
) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    project.run("r1", 3000.0).started("a")
    assert daemon.tick(launch=False) == ["r1"]
    past(project, "r2", 4000.0)
    run_id = unfinished(instance, daemon.defs, "r1", status)
    assert daemon.tick() == []
    assert "has not ended yet" in daemon.said
    instance.report_run_canceled(instance.get_run_by_id(run_id))
    assert daemon.tick() == ["r2"]


def test_a_run_that_goes_on_is_the_last_of_those_that_are_requested_together(
    project: Cloud, load: Any, instance: Any
) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    past(project, "r2", 3500.0)
    project.run("r3", 4000.0).started("a")
    assert daemon.tick(launch=False) == ["r1", "r2", "r3"]


def test_of_mirrors_that_were_requested_together_those_that_died_are_relaunched(
    project: Cloud, load: Any, instance: Any
) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    for number in range(1, 6):
        past(project, f"r{number}", 3000.0 + 100 * number)
    assert daemon.tick(launch=False) == ["r1", "r2", "r3", "r4", "r5"]
    assert [mirror["attempt"] for mirror in daemon.record()["chain"]] == [1] * 5
    for key, status in (("r1", "CANCELED"), ("r2", "FAILURE"), ("r3", "FAILURE")):
        unfinished(instance, daemon.defs, key, status)
    waiting = [unfinished(instance, daemon.defs, key, "STARTED") for key in ("r4", "r5")]
    assert daemon.tick() == []
    assert "the mirror of remote run r4 has not ended yet, behind it: 1 more" in daemon.said
    instance.report_run_failed(instance.get_run_by_id(waiting[0]))
    instance.report_run_canceled(instance.get_run_by_id(waiting[1]))
    assert daemon.tick() == ["r2#2", "r3#2", "r4#2"]
    assert all(run.success for run in daemon.runs)
    assert [daemon.tick(), daemon.record()["chain"]] == [[], []]


def test_a_mirror_that_died_is_asked_for_again_twice(project: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    project.run("r1", 3000.0).started("a")
    past(project, "r2", 4000.0)
    asked = []
    for _ in range(4):
        keys = daemon.tick(launch=False)
        asked += keys
        unfinished(instance, daemon.defs, keys[0], "FAILURE")
    assert asked == ["r1", "r1#2", "r1#3", "r2"]


def test_a_second_attempt_mirrors_the_same_remote_run(project: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    daemon.tick(launch=False)
    unfinished(instance, daemon.defs, "r1", "FAILURE")
    past(project, "r2", 4000.0)
    assert daemon.tick() == ["r1#2"]
    (event,) = daemon.runs[-1].events("ASSET_MATERIALIZATION")
    metadata = event.dagster_event.step_materialization_data.materialization.metadata
    assert metadata["Tobiko Cloud Run Id"].value == "r1"


def test_a_mirror_of_a_failed_remote_run_is_not_asked_for_again(project: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    run = project.run("r1", 3000.0)
    run.evaluated("a", status="failed", message="boom")
    run.end("failed", "1 failed")
    assert daemon.tick() == ["r1"]
    assert daemon.runs[-1].status == "FAILURE"
    assert daemon.tick() == []


def test_a_mirror_that_a_person_cancelled_is_not_asked_for_again(project: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    daemon.tick(launch=False)
    unfinished(instance, daemon.defs, "r1", "CANCELED")
    assert daemon.tick() == []


def test_a_mirror_that_died_and_was_repeated_by_a_person_is_not_asked_for_again(
    project: Cloud, load: Any, instance: Any
) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    daemon.tick(launch=False)
    unfinished(instance, daemon.defs, "r1", "FAILURE")
    assert run_job(daemon.defs, instance, config={"run_id": "r1"}).success
    assert daemon.tick() == []


def test_a_worker_that_is_gone_counts_as_died(project: Cloud, load: Any, instance: Any, monkeypatch: Any) -> None:
    from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus

    health = [WorkerStatus.RUNNING]
    launcher = type(instance.run_launcher)
    monkeypatch.setattr(launcher, "supports_check_run_worker_health", property(lambda _: True))
    monkeypatch.setattr(launcher, "check_run_worker_health", lambda *_: CheckRunHealthResult(health[0]), raising=False)
    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    daemon.tick(launch=False)
    unfinished(instance, daemon.defs, "r1", "STARTED")
    assert daemon.tick(launch=False) == []
    health[0] = WorkerStatus.NOT_FOUND
    assert daemon.tick(launch=False) == ["r1#2"]


SIGN = {".dagster/tobiko_alive_at": "a while ago"}


@pytest.mark.parametrize(
    ("status", "tags", "asked", "ended"),
    [
        ("STARTED", SIGN, ["r1#2"], "FAILURE"),
        ("STARTED", {"tobiko/alive_at": "as 2.0's first form puts it"}, ["r1#2"], "FAILURE"),
        ("STARTING", {}, ["r1#2"], "FAILURE"),
        ("CANCELING", SIGN, [], "CANCELED"),
        # Nobody says that its executor gives signs, or that it has been launched.
        ("STARTED", {}, [], "STARTED"),
        ("NOT_STARTED", {}, [], "NOT_STARTED"),
    ],
)
def test_a_worker_that_is_silent_for_long_counts_as_died(
    project: Cloud,
    load: Any,
    instance: Any,
    monkeypatch: Any,
    status: str,
    tags: dict[str, str],
    asked: list[str],
    ended: str,
) -> None:
    from tobikodata.scheduler_facades.dagster._mirror import heartbeat

    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    daemon.tick(launch=False)
    run_id = unfinished(instance, daemon.defs, "r1", status)
    instance.add_run_tags(run_id, tags)
    assert daemon.tick(launch=False) == []
    assert "has not ended yet" in daemon.said
    assert instance.get_run_by_id(run_id).status.value == status
    monkeypatch.setattr(heartbeat, "SILENCE_LIMIT_S", 0.0)
    monkeypatch.setattr(heartbeat, "WAKE_S", 0.0)
    assert daemon.tick(launch=False) == asked
    assert instance.get_run_by_id(run_id).status.value == ended


def test_a_worker_whose_machine_was_asleep_is_alive(project: Cloud, load: Any, instance: Any, monkeypatch: Any) -> None:
    from tobikodata.scheduler_facades.dagster._mirror import heartbeat

    daemon = Daemon(load(), instance)
    daemon.tick()
    past(project, "r1", 3000.0)
    daemon.tick(launch=False)
    run_id = unfinished(instance, daemon.defs, "r1", "STARTED")
    instance.add_run_tags(run_id, SIGN)
    monkeypatch.setattr(heartbeat, "SILENCE_LIMIT_S", 1.0)
    time.sleep(1.1)
    monkeypatch.setattr(heartbeat.time, "sleep", lambda _: instance.add_run_tags(run_id, SIGN))
    assert daemon.tick(launch=False) == []
    assert instance.get_run_by_id(run_id).status.value == "STARTED"


def test_a_mirror_gives_signs_of_life(project: Cloud, load: Any, instance: Any, monkeypatch: Any) -> None:
    from tobikodata.scheduler_facades.dagster._mirror import heartbeat

    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL_S", 0.5)
    signs: list[float] = []
    add_run_tags = type(instance).add_run_tags

    def noted(self: Any, run_id: str, tags: Any) -> Any:
        signs.extend([time.monotonic()] if ".dagster/tobiko_alive_at" in tags else [])
        return add_run_tags(self, run_id, tags)

    monkeypatch.setattr(type(instance), "add_run_tags", noted)
    run = project.run("r1", 3000.0)
    run.started("a")
    ender = threading.Timer(2.5, lambda: (run.ended("a"), run.end()))
    ender.start()
    assert run_job(load(), instance, MIRROR, **{"tobiko/run_id": "r1"}).success
    assert len(signs) >= 3


def test_a_sync_that_died_is_asked_for_again_twice(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "old", 2000.0)
    daemon = Daemon(load(), instance)
    for key in ("__initial_sync__", "__initial_sync__#2", "__initial_sync__#3"):
        assert daemon.tick(launch=False) == [key]
        run_id = unfinished(instance, daemon.defs, key, "STARTED", SYNC)
        assert daemon.tick() == []
        instance.report_run_failed(instance.get_run_by_id(run_id))
    past(project, "r1", 3000.0)
    assert daemon.tick() == ["r1"]
    assert daemon.tick() == []


@pytest.mark.parametrize("how", ["cancelled", "repeated", "deleted"])
def test_a_sync_that_a_person_has_dealt_with_is_not_asked_for_again(
    project: Cloud, load: Any, instance: Any, how: str
) -> None:
    past(project, "old", 2000.0)
    daemon = Daemon(load(), instance)
    daemon.tick(launch=False)
    run_id = unfinished(
        instance, daemon.defs, "__initial_sync__", "CANCELED" if how == "cancelled" else "FAILURE", SYNC
    )
    if how == "repeated":
        assert run_job(daemon.defs, instance, SYNC).success
    if how == "deleted":
        instance.delete_run(run_id)
    assert daemon.tick() == []
    unfinished(instance, daemon.defs, "later", "FAILURE", SYNC)
    assert daemon.tick() == [], "what is launched by hand later is that person's business"


def test_an_emptied_cursor_gets_its_sync_again(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "old", 2000.0)
    daemon = Daemon(load(), instance)
    assert daemon.tick() == ["__initial_sync__"]
    daemon.cursor = None
    assert daemon.tick() == ["__initial_sync__#2"]
    daemon.cursor = ""
    assert daemon.tick() == ["__initial_sync__#3"]


def test_cursors_of_the_original_are_understood(project: Cloud, load: Any, instance: Any) -> None:
    for number in (1, 2, 3):
        past(project, f"r{number}", 2000.0 + 100 * number)
    defs = load()
    daemon = Daemon(defs, instance, cursor="r1")
    assert [daemon.tick(launch=False), daemon.record()["last"]] == [["r2", "r3"], "r3"]
    daemon = Daemon(defs, instance, cursor="__initial_sync_complete__")
    assert daemon.tick(launch=False) == ["r3"]


def test_a_cursor_whose_run_is_gone_mirrors_the_newest_and_syncs_once(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "r1", 2000.0)
    past(project, "r2", 3000.0)
    daemon = Daemon(load(), instance, cursor="long-gone")
    assert sorted(daemon.tick()) == ["__initial_sync__", "r2"]
    assert daemon.tick() == []


def test_an_outage_is_skipped_and_the_cursor_left_alone(project: Cloud, load: Any, instance: Any) -> None:
    past(project, "r1", 2000.0)
    daemon = Daemon(load(), instance)
    daemon.tick()
    before = daemon.cursor
    project.stop()
    started = time.monotonic()
    assert daemon.tick() == []
    assert time.monotonic() - started < 21
    assert daemon.cursor == before
    assert project.base_url in daemon.said
    project.start()
    past(project, "r2", 3000.0)
    assert daemon.tick() == ["r2"]


def test_what_a_person_must_mend_fails_the_tick(definitions: Any, script: Any, instance: Any) -> None:
    daemon = Daemon(definitions(s.manifest()), instance)
    script(tick={"error": "not let in: check TCLOUD_CLIENT_SECRET", "exit": 4})
    with pytest.raises(Exception, match="check TCLOUD_CLIENT_SECRET"):
        daemon.tick()


def test_a_poll_without_end_is_given_up(definitions: Any, script: Any, instance: Any, monkeypatch: Any) -> None:
    from tobikodata.scheduler_facades.dagster._launch import executable

    daemon = Daemon(definitions(s.manifest()), instance)
    monkeypatch.setattr(executable, "TIME_LIMIT_S", 0.5)
    script(tick={"sleep": 30})
    assert daemon.tick() == []
    assert "gave no answer" in daemon.said


def test_an_environment_that_does_not_exist_yet(cloud: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    assert daemon.tick() == []
    assert "does not exist in SQLMesh (yet)" in daemon.said
    cloud.environment(model("a"))
    daemon.defs = load()  # reloaded
    assert daemon.tick() == ["__initial_sync__"]


# Reloading the code location


class Webserver:
    """Answers GraphQL as Dagster's webserver does to a reload, or does not."""

    def __init__(self, status: str) -> None:
        self.reloads: list[str] = []
        webserver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if "reloadRepositoryLocation" not in body["query"]:  # 1.9.1 asks for the schema first
                    return self.answer(_schema())
                webserver.reloads.append(body["variables"]["repositoryLocationName"])
                if status == "hangs":
                    return self.drip()
                if status == "read only":
                    return self.answer({"reloadRepositoryLocation": {"__typename": "UnauthorizedError"}})
                location = (
                    {"__typename": "RepositoryLocation"}
                    if status == "works"
                    else {"__typename": "PythonError", "message": "import error in definitions.py"}
                )
                self.answer(
                    {
                        "reloadRepositoryLocation": {
                            "__typename": "WorkspaceLocationEntry",
                            "locationOrLoadError": {
                                **location,
                                "isReloadSupported": True,
                                "name": "l",
                                "repositories": [],
                            },
                        }
                    }
                )
                return None

            def drip(self) -> None:
                """A byte now and then, for a minute: no single read takes long."""
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                with suppress(OSError):  # the client has gone
                    for _ in range(200):
                        self.wfile.write(b" ")
                        time.sleep(0.3)

            def answer(self, data: Any) -> None:
                payload = json.dumps({"data": data}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _schema() -> Any:
    from dagster_graphql.schema import create_schema
    from graphql import get_introspection_query

    result = create_schema().execute(get_introspection_query())
    return result.data


@contextmanager
def webserver(status: str) -> Iterator[Webserver]:
    server = Webserver(status)
    try:
        yield server
    finally:
        server.server.shutdown()


def with_graphql(load: Any, port: int, **kwargs: Any) -> dg.Definitions:
    facade = {"dagster_graphql_host": "127.0.0.1", "dagster_graphql_port": port, **kwargs}
    return load(facade)  # type: ignore[no-any-return]


def test_a_new_model_reloads_the_code_location_before_its_run_is_asked_for(
    project: Cloud, load: Any, instance: Any
) -> None:
    with webserver("works") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        daemon.tick()
        past(project, "r1", 2000.0)
        assert daemon.tick() == ["r1"]
        assert server.reloads == []

        project.environment(model("a"), model("b", "a"), at=2500.0)
        past(project, "r2", 3000.0, "a", "b")
        assert daemon.tick() == []
        assert "was reloaded" in daemon.said
        assert server.reloads == ["my_location"]
        daemon.defs = with_graphql(load, server.port)
        assert daemon.tick() == ["r2"]
        assert "wh_s_b" in daemon.runs[-1].steps()
        assert server.reloads == ["my_location"]


def test_a_run_that_evaluated_nothing_new_is_requested_in_the_tick_that_reloads(
    project: Cloud, load: Any, instance: Any
) -> None:
    with webserver("works") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        daemon.tick()
        project.environment(model("a"), model("b", "a"), at=1500.0)
        past(project, "r1", 2000.0, "a")
        past(project, "r2", 3000.0, "a", "b")
        assert daemon.tick() == ["r1"]
        assert server.reloads == ["my_location"]
        assert daemon.runs[-1].steps() == {"wh_s_a": "success"}
        # The other one waits for what was reloaded to tick.
        assert daemon.tick() == []
        daemon.defs = with_graphql(load, server.port)
        assert daemon.tick() == ["r2"]
        assert set(daemon.runs[-1].materializations("wh_s_b")) == {"wh/s/b"}
        assert server.reloads == ["my_location"]


def test_one_whose_models_have_changed_waits_for_the_reload(project: Cloud, load: Any, instance: Any) -> None:
    """And so does one of which it is not known what was loaded."""
    with webserver("works") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        daemon.tick()
        project.environment(model("a", audits=("not_null",)), at=1500.0)
        past(project, "r1", 2000.0, "a")
        assert daemon.tick() == []
        daemon.defs = with_graphql(load, server.port)
        assert daemon.tick() == ["r1"]

        project.environment(model("a", audits=("not_null",)), model("b"), at=2500.0)
        load()  # another code server, with the same folder for kept manifests
        past(project, "r2", 3000.0, "a")
        assert daemon.tick() == []


def test_what_ticks_may_be_newer_than_dagsters_page(project: Cloud, load: Any, instance: Any) -> None:
    """The daemon of 1.9.1 renews its own code server by itself; the webserver's is reloaded on request."""
    with webserver("works") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        daemon.tick()
        project.environment(model("a"), model("b", "a"), at=1500.0)
        past(project, "r1", 2000.0)
        daemon.defs = with_graphql(load, server.port)
        assert daemon.tick() == ["r1"]
        assert server.reloads == ["my_location"]
        past(project, "r2", 3000.0)
        assert daemon.tick() == ["r2"]
        assert server.reloads == ["my_location"]


def test_a_reload_that_changes_nothing_is_said_once_with_its_remedy_and_the_runs_go_out(
    project: Cloud, load: Any, instance: Any, capfd: Any
) -> None:
    with webserver("works") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        daemon.tick()
        project.environment(model("a"), model("b", "a"), at=1500.0)
        for number in (1, 2, 3):
            past(project, f"r{number}", 2000.0 + 100 * number, "a", "b")
        ticks = [daemon.tick() for _ in range(10)]
    assert ticks == [*[[]] * 4, ["r1", "r2", "r3"], *[[]] * 5]
    assert len(server.reloads) == 1
    printed = capfd.readouterr().err
    assert printed.count("dagster code-server start") == 1
    assert "code location my_location was reloaded, and what it declares has not changed" in printed


def test_a_read_only_webserver_is_called_one(project: Cloud, load: Any, instance: Any, capfd: Any) -> None:
    with webserver("read only") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        daemon.tick()
        project.environment(model("a"), model("b", "a"), at=1500.0)
        past(project, "r1", 2000.0)
        assert daemon.tick() == ["r1"]
    assert "it is read-only" in capfd.readouterr().err


def test_a_location_that_was_loaded_in_an_outage_is_reloaded_when_the_cloud_answers(
    project: Cloud, load: Any, instance: Any, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "0.2")
    with webserver("works") as server:
        project.stop()
        daemon = Daemon(with_graphql(load, server.port), instance)
        assert daemon.tick() == []
        assert project.base_url in daemon.said
        project.start()
        assert daemon.tick() == []
        assert server.reloads == ["my_location"]
        daemon.defs = with_graphql(load, server.port)
        assert "wh_s_a" in {node.name for node in daemon.defs.get_job_def(MIRROR).nodes}
        assert daemon.tick() == ["__initial_sync__"]


def test_without_a_webserver_to_ask_the_tick_says_that_a_reload_is_due(
    project: Cloud, load: Any, instance: Any, monkeypatch: Any, capfd: Any
) -> None:
    monkeypatch.setenv("TOBIKO_FACADE_CALL_LIMIT_S", "0.2")
    project.stop()
    daemon = Daemon(load(), instance)
    project.start()
    assert daemon.tick(launch=False) == ["__initial_sync__"]
    assert "click Reload on code location my_location" in capfd.readouterr().err


@pytest.mark.parametrize("job_name", [MIRROR, SYNC])
def test_another_code_location_with_this_environment_is_none_of_its_business(
    project: Cloud, load: Any, instance: Any, job_name: str
) -> None:
    """Its run is failed, ours goes on; and the other way round."""
    past(project, "old", 2000.0)
    daemon = Daemon(load(), instance)
    keys = daemon.tick(launch=False)
    if job_name == MIRROR:
        unfinished(instance, daemon.defs, "__initial_sync__", "CANCELED", SYNC)
        past(project, "r1", 3000.0)
        keys = daemon.tick(launch=False)
    ours = unfinished(instance, daemon.defs, keys[0], "STARTED", job_name, location="my_location")
    unfinished(instance, daemon.defs, keys[0], "FAILURE", job_name, location="another")
    assert daemon.tick() == []
    instance.report_run_failed(instance.get_run_by_id(ours))
    unfinished(instance, daemon.defs, keys[0], "STARTED", job_name, location="another")
    assert daemon.tick(launch=False) == [f"{keys[0]}#2"]


@pytest.mark.parametrize("status", ["fails", "hangs", "away"])
def test_a_reload_that_fails_does_not_hold_the_runs_up(
    project: Cloud, load: Any, instance: Any, status: str, monkeypatch: Any
) -> None:
    from tobikodata.scheduler_facades.dagster._sensor import reload

    assert reload.TIME_LIMIT_S == 20
    monkeypatch.setattr(reload, "TIME_LIMIT_S", 2.0)
    with webserver(status) as server:
        port = _free_port() if status == "away" else server.port
        daemon = Daemon(with_graphql(load, port), instance)
        daemon.tick()
        project.environment(model("a"), model("b", "a"), at=1500.0)
        past(project, "r1", 2000.0)
        before = time.monotonic()
        assert daemon.tick(launch=False) == ["r1"]
        assert time.monotonic() - before < 30


def test_without_a_graphql_host_the_runs_go_out(project: Cloud, load: Any, instance: Any) -> None:
    daemon = Daemon(load(), instance)
    daemon.tick()
    project.environment(model("a"), model("b", "a"), at=1500.0)
    past(project, "r1", 2000.0)
    assert daemon.tick() == ["r1"]


def test_models_appear_when_the_environment_does(cloud: Cloud, load: Any, instance: Any) -> None:
    with webserver("works") as server:
        daemon = Daemon(with_graphql(load, server.port), instance)
        assert daemon.tick() == []
        cloud.environment(model("a"))
        assert daemon.tick() == []
        assert server.reloads == ["my_location"]
        daemon.defs = with_graphql(load, server.port)
        assert daemon.tick() == ["__initial_sync__"]


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
