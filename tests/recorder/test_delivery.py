"""How events reach the server, despite outages, refusals and expired tokens, and through the shared spool."""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from project import Project
from receiver import Receiver

from tobikodata import sqlmesh_recorder
from tobikodata.sqlmesh_recorder import _delivery, _spool
from tobikodata.sqlmesh_recorder._delivery import Delivery, Later
from tobikodata.sqlmesh_recorder._settings import Settings

# Puts COUNT events of WHO into a delivery, then ends, or waits if THEN is "wait".
SCRIPT = """
import os, signal, sys, time
from tobikodata.sqlmesh_recorder._delivery import Delivery
from tobikodata.sqlmesh_recorder._settings import Settings
who, count, then = sys.argv[1], int(sys.argv[2]), sys.argv[3]
delivery = Delivery(Settings.of(os.environ))
for number in range(count):
    delivery.put({"type": "plan_started", "plan_id": who, "number": number})
    if number % 10 == 0:
        time.sleep(0.001)
if then == "wait":
    print("ready", flush=True)
    time.sleep(60)
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def delivery_to(url: str, **more: str) -> Delivery:
    settings = Settings.of({**os.environ, "TCLOUD_BASE_URL": url, **more})
    assert settings is not None
    return Delivery(settings)


def started(url: str, who: str, count: int, then: str = "end") -> subprocess.Popen[str]:
    environment = {**os.environ, "TCLOUD_BASE_URL": url}
    command = [sys.executable, "-c", SCRIPT, who, str(count), then]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def lines_of(spool: Path) -> list[Any]:
    return [json.loads(line) for line in spool.read_bytes().splitlines()] if spool.exists() else []


def put(delivery: Delivery, *numbers: int) -> None:
    for number in numbers:
        delivery.put({"type": "plan_started", "number": number})


def numbers_of(receiver: Receiver) -> list[int]:
    return [event["number"] for event in receiver.events]


def test_events_of_an_outage_are_delivered_once_and_in_order_afterwards(
    planned: Project, monkeypatch: pytest.MonkeyPatch, spool: Path
) -> None:
    port = free_port()
    monkeypatch.setenv("TCLOUD_BASE_URL", f"http://127.0.0.1:{port}")
    sqlmesh_recorder.install()
    assert planned.run(day=5).is_success
    sqlmesh_recorder.uninstall()
    waiting = lines_of(spool)
    assert [waiting[0]["type"], waiting[-1]["type"]] == ["environment", "run_ended"]
    assert spool.stat().st_mode & 0o777 == 0o600

    receiver = Receiver(port)
    try:
        sqlmesh_recorder.install()
        assert planned.run(day=6).is_success
        receiver.wait_for(lambda: len(receiver.of("run_ended")) == 2)
        assert receiver.events[: len(waiting)] == waiting
        assert receiver.received == len(receiver.events)
        assert not spool.exists()
    finally:
        receiver.close()


def test_an_idle_run_sends_the_spool_of_an_earlier_one(planned: Project, recorded: Receiver) -> None:
    recorded.mode = 503
    planned.run(day=5)
    sqlmesh_recorder.uninstall()
    assert recorded.events == []
    recorded.mode = None
    sqlmesh_recorder.install()
    assert planned.run(day=5).is_nothing_to_do
    recorded.wait_for(lambda: recorded.of("run_ended"))
    assert len(recorded.of("run_started")) == 1


def test_a_server_that_hangs_does_not_delay_the_end_of_the_process(
    planned: Project, recorded: Receiver, spool: Path
) -> None:
    recorded.mode = "hang"
    assert planned.run(day=5).is_success
    before = time.monotonic()
    sqlmesh_recorder.uninstall()
    assert time.monotonic() - before < _delivery.FLUSH_SECONDS + 0.4
    assert {"run_started", "run_ended"} <= {event["type"] for event in lines_of(spool)}


def test_new_events_are_sent_after_those_of_an_outage(receiver: Receiver, spool: Path) -> None:
    receiver.mode = 500
    delivery = delivery_to(receiver.url)
    put(delivery, 1, 2)
    receiver.wait_for(spool.exists)
    receiver.mode = None
    put(delivery, 3)
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 2, 3])
    put(delivery, 4)
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 2, 3, 4])
    delivery.close()
    assert not spool.exists()


def test_events_that_follow_closely_share_a_request_and_an_end_waits_for_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delivery, "PAUSE_SECONDS", 3600.0)
    delivery = delivery_to(receiver.url)
    put(delivery, 1)
    receiver.wait_for(lambda: numbers_of(receiver) == [1])
    receiver.wait_for(lambda: delivery._pause_until)
    put(delivery, 2)
    time.sleep(0.2)  # enough to send it, were there no pause
    assert numbers_of(receiver) == [1]
    put(delivery, 3)
    delivery.put({"type": "plan_ended", "number": 4}, urgent=True)
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 2, 3, 4])
    assert len(receiver.requests) == 2
    put(delivery, 5)
    delivery.close()
    assert numbers_of(receiver) == [1, 2, 3, 4, 5]


def test_a_queue_that_fills_a_request_is_sent_without_a_pause(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delivery, "PAUSE_SECONDS", 3600.0)
    delivery = delivery_to(receiver.url)
    put(delivery, 0)
    receiver.wait_for(lambda: numbers_of(receiver) == [0])
    put(delivery, *range(1, 1201))
    delivery.put({"type": "plan_ended", "number": 1201}, urgent=True)
    receiver.wait_for(lambda: numbers_of(receiver) == list(range(1202)))
    delivery.close()


def test_an_event_says_when_it_happened_and_its_texts_are_made_by_the_thread_that_sends(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_delivery, "PAUSE_SECONDS", 3600.0)
    delivery = delivery_to(receiver.url)
    put(delivery, 1)
    receiver.wait_for(lambda: numbers_of(receiver) == [1])
    before = datetime.now(timezone.utc)
    delivery.put({"type": "audit", "number": 2, "log": Later(lambda: threading.current_thread().name)})
    after = datetime.now(timezone.utc)
    delivery.put({"type": "audit", "number": 3, "log": Later(lambda: 1 / 0)})
    delivery.put({"type": "plan_ended", "number": 4}, urgent=True)
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 2, 3, 4])
    assert before <= datetime.fromisoformat(receiver.events[1]["at"]) <= after
    assert [event["log"] for event in receiver.of("audit")] == ["sqlmesh-recorder", None]
    delivery.close()


def test_what_is_no_json_is_dropped_and_the_others_are_delivered(receiver: Receiver) -> None:
    endless: dict[str, Any] = {"type": "plan_started"}
    endless["number"] = endless
    delivery = delivery_to(receiver.url)
    delivery.put({"type": "plan_started", "number": 1}, endless, {"type": "plan_started", "number": 2})
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 2])
    delivery.close()


def test_one_connection_serves_all_requests(receiver: Receiver) -> None:
    receiver.client = ("me", "secret")
    delivery = delivery_to(receiver.url, TCLOUD_CLIENT_ID="me", TCLOUD_CLIENT_SECRET="secret")
    for number in range(5):
        put(delivery, number)
        receiver.wait_for(lambda: numbers_of(receiver)[-1:] == [number])  # noqa: B023 (called at once)
    delivery.close()
    assert len(receiver.requests) == 6
    assert len(receiver.connections) == 1


def test_a_kept_connection_that_the_server_has_closed_is_replaced_at_once(
    receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = delivery_to(receiver.url)
    with caplog.at_level(logging.DEBUG):
        put(delivery, 1)
        receiver.wait_for(lambda: receiver.answered == 1)
        receiver.drop_connections()
        put(delivery, 2)
        receiver.wait_for(lambda: numbers_of(receiver) == [1, 2])
        delivery.close()
    assert len(receiver.connections) == 2
    assert "failed to send" not in caplog.text


def test_it_goes_through_the_environments_proxy(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv("no_proxy", "elsewhere.test")
    monkeypatch.setenv("http_proxy", f"http://me:a%40b@127.0.0.1:{receiver.port}")
    delivery = delivery_to("http://cloud.test/base")
    put(delivery, 1)
    receiver.wait_for(lambda: numbers_of(receiver) == [1])
    delivery.close()
    assert receiver.requests == ["http://cloud.test/base/recorder/v1/events"]
    assert base64.b64decode(receiver.proxy_authorization.removeprefix("Basic ")) == b"me:a@b"


@pytest.mark.parametrize("answer", [200, 400, 422])
def test_a_refused_event_is_dropped_and_the_others_are_delivered(receiver: Receiver, spool: Path, answer: int) -> None:
    receiver.is_bad = lambda event: event["number"] == 7
    receiver.bad_answer = answer
    delivery = delivery_to(receiver.url)
    put(delivery, *range(20))
    receiver.wait_for(lambda: numbers_of(receiver) == [n for n in range(20) if n != 7])
    delivery.close()
    assert not spool.exists()
    requests = len(receiver.requests)
    delivery = delivery_to(receiver.url)
    put(delivery, 20)
    receiver.wait_for(lambda: numbers_of(receiver)[-1] == 20)
    delivery.close()
    assert len(receiver.requests) == requests + 1


@pytest.mark.parametrize("answer", [404, 403, 429, 503])
def test_a_transient_error_keeps_the_events(receiver: Receiver, spool: Path, answer: int) -> None:
    receiver.mode = answer
    delivery = delivery_to(receiver.url)
    put(delivery, 1)
    receiver.wait_for(spool.exists)
    delivery.close()
    assert [event["number"] for event in lines_of(spool)] == [1]


def test_it_logs_in_and_replaces_a_revoked_token(receiver: Receiver) -> None:
    receiver.client = ("me", "secret")
    delivery = delivery_to(receiver.url, TCLOUD_CLIENT_ID="me", TCLOUD_CLIENT_SECRET="secret")
    put(delivery, 1)
    receiver.wait_for(lambda: numbers_of(receiver) == [1])
    receiver.valid_tokens = {"another"}
    put(delivery, 2)
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 2])
    delivery.close()
    assert [path for path in receiver.requests if "token" in path] == ["/auth/token"] * 2


def test_a_wrong_secret_keeps_the_events_and_is_not_logged(
    receiver: Receiver, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.client = ("me", "secret")
    with caplog.at_level(logging.DEBUG):
        delivery = delivery_to(receiver.url, TCLOUD_CLIENT_ID="me", TCLOUD_CLIENT_SECRET="not-the-one")
        put(delivery, 1)
        receiver.wait_for(spool.exists)
        delivery.close()
    assert "TCLOUD_CLIENT_SECRET correct?" in caplog.text
    assert "not-the-one" not in caplog.text
    assert "not-the-one" not in repr(delivery._server._settings)


def test_a_redirect_gets_no_bearer_token(receiver: Receiver, spool: Path) -> None:
    other = Receiver()
    try:
        receiver.mode, receiver.location = 302, f"{other.url}/recorder/v1/events"
        delivery = delivery_to(receiver.url)
        put(delivery, 1)
        receiver.wait_for(spool.exists)
        delivery.close()
        assert other.requests == []
    finally:
        other.close()


def test_a_full_spool_drops_the_oldest_events(
    monkeypatch: pytest.MonkeyPatch, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_spool, "MAX_SPOOL_BYTES", 10_000)
    delivery = delivery_to(f"http://127.0.0.1:{free_port()}")
    for number in range(300):
        put(delivery, number)
    delivery.close()
    numbers = [event["number"] for event in lines_of(spool)]
    assert spool.stat().st_size <= 10_000
    assert numbers == list(range(numbers[0], 300))
    assert "events were dropped" in caplog.text


def test_processes_share_the_spool(spool: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    processes = [started(url, who, 200) for who in "abcd"]
    assert [process.wait(30) for process in processes] == [0] * 4
    assert len(lines_of(spool)) == 800
    receiver = Receiver(port)
    try:
        processes = [started(url, who, 100) for who in "efg"]
        assert [process.wait(30) for process in processes] == [0] * 3
        delivery = delivery_to(url)  # for what the three short-lived processes could not send
        delivery.wake_for_spool()
        receiver.wait_for(lambda: len(receiver.events) == 1100)
        delivery.close()
    finally:
        receiver.close()
    for who in "abcdefg":
        numbers = [event["number"] for event in receiver.events if event["plan_id"] == who]
        assert numbers == list(range(200 if who in "abcd" else 100))
    assert not spool.exists()


def test_a_process_waits_while_another_changes_the_spool(spool: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    spool.parent.mkdir()
    with open(f"{spool}.lock", "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        writer = threading.Thread(target=_spool.Spool(spool).append, args=([b"{}"],))
        writer.start()
        writer.join(0.1)
        assert writer.is_alive()
        assert not spool.exists()
    writer.join(10)
    assert spool.read_bytes() == b"{}\n"


def test_events_of_a_killed_process_stay_in_the_spool(spool: Path) -> None:
    process = started(f"http://127.0.0.1:{free_port()}", "killed", 50, then="wait")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    deadline = time.monotonic() + 20
    while len(lines_of(spool)) < 50 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert [event["number"] for event in lines_of(spool)] == list(range(50))


def test_half_a_line_in_the_spool_is_ignored(receiver: Receiver, spool: Path) -> None:
    spool.parent.mkdir()
    spool.write_bytes(b'{"id": "1", "type": "plan_started", "number": 1}\n{"id": "2", "type": "pl')
    receiver.mode = 503
    delivery = delivery_to(receiver.url)
    put(delivery, 3)
    receiver.wait_for(lambda: spool.read_bytes().count(b"\n") == 3)
    delivery.close()
    receiver.mode = None
    delivery = delivery_to(receiver.url)
    put(delivery, 4)
    receiver.wait_for(lambda: numbers_of(receiver) == [1, 3, 4])
    delivery.close()


def test_without_server_and_spool_the_queue_waits_without_busy_looping(tmp_path: Path) -> None:
    in_the_way = tmp_path / "spool"
    in_the_way.write_text("a file where the folder should be")
    port = free_port()
    delivery = delivery_to(f"http://127.0.0.1:{port}")
    put(delivery, 1)
    busy = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - busy < 0.25
    receiver = Receiver(port)
    try:
        put(delivery, 2)
        receiver.wait_for(lambda: numbers_of(receiver) == [1, 2])
        delivery.close()
    finally:
        receiver.close()


def test_each_server_has_a_spool_of_its_own() -> None:
    environment = {"XDG_CACHE_HOME": "/somewhere", "HOME": "/home"}
    paths = {
        Settings.of({**environment, "TCLOUD_BASE_URL": url}).spool.name  # type: ignore[union-attr]
        for url in ("http://one", "http://two", "http://two/")
    }
    assert len(paths) == 2
    assert all(name.startswith("tobiko_recorder_spool.") for name in paths)
