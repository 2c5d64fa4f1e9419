"""The channel between the real executable and Dagster loses nothing; where it breaks, the run fails and says so."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster_runs import SYNC, check_status, count, meanwhile, run_job
from fake_cloud import FakeCloud
from recorded_cloud import Cloud, model
from waiting import wait_until

from tobikodata.scheduler_facades.dagster._events.messages import RunFinished, TaskStarted
from tobikodata.scheduler_facades.dagster._launch import subprocess as subprocess_launcher
from tobikodata.scheduler_facades.dagster._launch.connection import Connection

HERE = Path(__file__).parent
TIME = "2024-05-01T02:00:00+00:00"


class CountingReader(subprocess_launcher.EventReader):
    """The reader that every job uses. Records the longest delay between writing and handling a message."""

    many: int
    latest_s: float

    def handle_message(self, message: Any) -> None:
        payload = (message.get("params") or {}).get("payload") or {}
        if payload.get("tobiko") == "task_started":
            kind = type(self)
            kind.latest_s = max(kind.latest_s, time.time() - payload["at"])
            assert int(payload["node"]) == kind.many
            kind.many += 1
        super().handle_message(message)

    @classmethod
    def forget(cls) -> None:
        cls.many, cls.latest_s = 0, 0.0


@pytest.fixture
def counting(executable: str, monkeypatch: pytest.MonkeyPatch) -> type[CountingReader]:
    CountingReader.forget()
    monkeypatch.setattr(subprocess_launcher, "EventReader", CountingReader)
    return CountingReader


@pytest.fixture
def numbered(executable: str, test_messages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The executable that is launched sends numbered messages."""
    monkeypatch.setenv("TOBIKO_FACADE_EXECUTABLE", test_messages)


def send_test_messages(*arguments: str) -> Iterator[Any]:
    """Launches the executable as the jobs do, and yields the events that arrive at the other end of the channel."""
    log = logging.getLogger("channel")
    context = SimpleNamespace(run_id="r", job_name="j", dagster_run=None, log=log)
    connection = Connection.checked("http://cloud.test", None, None, None)
    with subprocess_launcher.SubprocessLauncher().launch(connection, arguments, context) as launched:
        for events in launched.batches():
            yield from events


def check_all_arrive(events: Iterator[Any], many: int) -> tuple[int, int]:
    """Each once, in order, and the final message. Returns the sizes of the smallest and the largest.

    Checks one after the other: to keep a hundred thousand would make Python pause for its garbage collection.
    """
    smallest, largest = 1 << 20, 0
    for number in range(many):
        event = next(events)
        assert isinstance(event, TaskStarted)
        assert int(event.node) == number
        size = len(event.link.encode())
        smallest, largest = min(smallest, size), max(largest, size)
    assert isinstance(next(events), RunFinished)
    assert next(events, None) is None
    return smallest, largest


IN_BURSTS = ("--count=100000", "--smallest=100", "--largest=15000", "--burst=1500", "--pause-ms=10")
SLOWLY = ("--count=150", "--burst=1", "--pause-ms=20")


@pytest.mark.parametrize(("many", "arguments"), [(100_000, IN_BURSTS), (150, SLOWLY)], ids=["in bursts", "slowly"])
def test_each_message_is_handed_over_once_in_order_within_200_ms(
    numbered: None, counting: Any, caplog: Any, many: int, arguments: tuple[str, ...]
) -> None:
    """A busy machine may nap for longer than that, but not three times in a row."""
    latest_ms = []
    for _ in range(3):
        counting.forget()
        smallest, largest = check_all_arrive(send_test_messages(*arguments), many)
        assert (counting.many, smallest < 100, largest > 14_000) == (many, True, True)
        assert not caplog.records, caplog.text[:1000]
        latest_ms.append(counting.latest_s * 1000)
        if latest_ms[-1] < 200:
            return
    raise AssertionError(f"handed over as late as {latest_ms} ms")


def test_nothing_is_left_of_a_channel(executable: str, numbered: None) -> None:
    before = threading.active_count()
    for _ in send_test_messages("--count=10"):
        assert threading.active_count() > before
    assert threading.active_count() == before


class Batch:
    """Collects the events of remote runs, so that they go to the cloud in one request."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def post(self, *events: dict[str, Any]) -> None:
        self.events.extend(events)


def test_2000_messages_reach_a_real_event_log(cloud: Cloud, load: Any, instance: Any) -> None:
    names = [f"m{n}" for n in range(1000)]
    cloud.environment(*(model(name, audits=("not_null",)) for name in names))
    batch = Batch()
    run = Cloud.run(batch, "r1")  # type: ignore[arg-type]  # it has what a remote run needs
    for name in names:
        run.evaluated(name, "not_null")
    run.end()
    cloud.post(*batch.events)
    result = run_job(load(), instance, SYNC)
    assert result.success, result.run_failure()
    assert set(result.materializations()) == {f"wh/s/{name}" for name in names}
    assert set(result.checks()) == {(f"wh/s/{name}", "not_null") for name in names}
    assert "2000 events written, 0 skipped" in result.log()
    for name in (names[0], names[-1]):
        assert count(instance, f"wh/s/{name}") == 1
        assert check_status(instance, f"wh/s/{name}", "not_null") == "SUCCEEDED"


def reported_by(cloud: FakeCloud, messages: dict[str, Any], status: str = "failed") -> None:
    """One run in which every node of `messages` failed with its message; None is a success."""
    cloud.dags["prod"] = {"environment": "prod", "nodes": [{"name": name} for name in messages]}
    cloud.runs = [
        {"run_id": "r1", "environment": "prod", "status": status, "start_at": TIME, "link": "http://cloud/r1"}
    ]
    cloud.evaluations = [
        {
            "evaluation_id": f"e-{name}",
            "run_id": "r1",
            "node_name": name,
            "status": "failed" if message else "success",
            "error_message": message,
            "start_at": TIME,
            "end_at": TIME,
            "link": f"http://cloud/{name}",
        }
        for name, message in messages.items()
    ]


def test_long_texts_are_cut_at_a_character_and_many_audits_all_come(
    fake_cloud: FakeCloud, load: Any, instance: Any
) -> None:
    messages = {
        "megabyte": f"it began {'x' * 1_000_000} it ended",
        "sushi": f"ä{'🍣é' * 170_000}ö",
        "quotes": "(" + '"' * 500_000 + ")",
        "audited": None,
    }
    reported_by(fake_cloud, messages)
    audits = [{"name": f"audit_{n}", "status": "success" if n else "failed"} for n in range(500)]
    fake_cloud.evaluations[-1]["audits"] = audits
    result = run_job(load(), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {name: "success" if name == "audited" else "failure" for name in messages}
    assert result.tags["tobiko/mirror"] == "complete", result.run_failure()
    for name, message in messages.items():
        if not message:
            continue
        failure = result.failure(name)
        said = failure.description.split("Tobiko Cloud: ", 1)[1]
        start, rest = said.split("\n[... ")
        left_out, end = rest.split(" characters left out ...]\n")
        assert message.startswith(start)
        assert message.endswith(end)
        assert len(start) + int(left_out) + len(end) == len(message)
        assert 4_000 < len(said.encode()) < 15 * 1024
        assert failure.metadata["Debugger"].value == f"http://cloud/{name}"
    checks = result.checks()
    assert {name for _, name in checks} == {audit["name"] for audit in audits}
    assert [name for (_, name), data in checks.items() if not data.passed] == ["audit_0"]
    assert check_status(instance, "audited", "audit_0") == "FAILED"
    assert check_status(instance, "audited", "audit_499") == "SUCCEEDED"


def child_of(parent: int) -> int:
    """The process of a mirror that `parent` has launched, or 0."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == parent and b"mirror" in (folder / "cmdline").read_bytes().split(b"\0"):
                return int(folder.name)
        except (OSError, IndexError):  # it has ended meanwhile
            continue
    return 0


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def starts_a_run(cloud: Cloud) -> None:
    """A run of which one model is done and one goes on."""
    cloud.environment(model("a"), model("b", "a"))
    run = cloud.run("live")
    run.evaluated("a")
    run.started("b")


def test_an_executable_that_is_killed_mid_way_fails_the_run(cloud: Cloud, load: Any, instance: Any) -> None:
    starts_a_run(cloud)

    def kill() -> None:
        runs = wait_until(lambda: instance.get_runs())
        steps = dg.DagsterEventType.STEP_START
        wait_until(lambda: len(list(instance.all_logs(runs[0].run_id, of_type=steps))) == 2)
        os.kill(child_of(os.getpid()), signal.SIGKILL)

    with meanwhile(kill):
        result = run_job(load(), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {"wh_s_a": "success", "wh_s_b": "failure"}
    assert "was terminated by SIGKILL" in result.failure("wh_s_b").description
    assert "does not show all of it" in result.run_failure()
    assert "SIGKILL" in result.run_failure()
    assert "tobiko/mirror" not in result.tags


def replace_executable(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses a script instead of the executable."""
    path = tmp_path / "tobiko-facade"
    path.write_text(program)
    path.chmod(0o755)
    monkeypatch.setenv("TOBIKO_FACADE_EXECUTABLE", str(path))


# Runs the executable, and passes on all but its last two messages: `done` and `closed`.
WITHOUT_FINAL_MESSAGE = """#!{python}
import os, subprocess, sys
command = [{executable!r}, *sys.argv[1:]]
if sys.argv[1] != "mirror":
    os.execv(command[0], command)
messages = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines(keepends=True)
sys.stdout.buffer.writelines(messages[:-2])
"""


def test_a_mirror_without_a_final_message_fails_the_run(
    cloud: Cloud, load: Any, instance: Any, tmp_path: Path, monkeypatch: Any, executable: str
) -> None:
    cloud.environment(model("a"))
    run = cloud.run("r1")
    run.evaluated("a")
    run.end()
    program = WITHOUT_FINAL_MESSAGE.format(python=sys.executable, executable=executable)
    replace_executable(program, tmp_path, monkeypatch)
    result = run_job(load(), instance)
    assert result.status == "FAILURE"
    assert result.steps() == {"wh_s_a": "success"}
    assert "exited with code 0" in result.run_failure()
    assert "tobiko/mirror" not in result.tags


# The executable ends in the middle of a line, and of the messages of one task.
CUT_OFF = """#!{python}
import os, subprocess, sys
command = [{executable!r}, *sys.argv[1:]]
if sys.argv[1] != "mirror":
    os.execv(command[0], command)
messages = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
sys.stdout.buffer.write(messages[:messages.index(b"report_asset_check") + 30])
sys.stdout.flush()
os.abort()
"""


def test_a_channel_that_ends_in_the_middle_of_a_line_fails_the_run(
    cloud: Cloud, load: Any, instance: Any, tmp_path: Path, monkeypatch: Any, executable: str
) -> None:
    cloud.environment(model("a", audits=("not_null",)))
    run = cloud.run("r1")
    run.evaluated("a", "not_null")
    run.end()
    replace_executable(CUT_OFF.format(python=sys.executable, executable=executable), tmp_path, monkeypatch)
    result = run_job(load(), instance)
    assert result.status == "FAILURE"
    assert result.materializations() == {}
    assert "was cut off after" in result.log()
    assert "was terminated by SIGABRT" in result.run_failure()
    assert "tobiko/mirror" not in result.tags


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_messages_need_no_room_on_a_disk(
    fake_cloud: FakeCloud, load: Any, instance: Any, full_disk: Path, monkeypatch: Any
) -> None:
    """60 messages of 15 KiB are more than fits into the folder of temporary files."""
    reported_by(fake_cloud, {f"m{n:03}": "x" * 20_000 for n in range(60)})
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk))
    result = run_job(load(), instance)
    assert len(result.steps()) == 60
    assert result.tags["tobiko/mirror"] == "complete", result.run_failure()
    assert os.listdir(full_disk) == []


def test_a_disk_without_any_room_fails_the_run(
    fake_cloud: FakeCloud, load: Any, instance: Any, full_disk: Path, monkeypatch: Any
) -> None:
    """The Pipes context is a file."""
    reported_by(fake_cloud, {"a": None}, status="success")
    definitions = load()
    with (full_disk / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 4096):
            continue
    monkeypatch.setattr(tempfile, "tempdir", str(full_disk))
    result = run_job(definitions, instance)
    assert result.status == "FAILURE"
    assert "No space left on device" in result.run_failure()
    assert "tobiko/mirror" not in result.tags


WORKER = """
import os
import dagster as dg
from dagster_runs import run_job
from tobikodata.scheduler_facades.dagster import SQLMeshEnterpriseDagster
definitions = SQLMeshEnterpriseDagster(url=os.environ["TCLOUD_BASE_URL"]).create_definitions()
with dg.DagsterInstance.get() as instance:
    run_job(definitions, instance)
"""


def test_a_run_worker_that_is_killed_leaves_no_executable_behind(cloud: Cloud, tmp_path: Path) -> None:
    starts_a_run(cloud)
    path = os.pathsep.join([str(HERE), *(place for place in sys.path if place)])
    log = tmp_path / "worker.log"
    with log.open("wb") as stderr:
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER], env={**os.environ, "PYTHONPATH": path}, stdout=stderr, stderr=stderr
        )

    def launched() -> int:
        assert worker.poll() is None, log.read_text()
        return child_of(worker.pid)

    try:
        pid = wait_until(launched, limit_s=60)
        assert lives(pid)
    finally:
        worker.kill()
        worker.wait()
    killed = time.monotonic()
    wait_until(lambda: not lives(pid), limit_s=20)
    assert time.monotonic() - killed < 5
