"""A pod's log arrives completely, each line once, across any number of broken streams."""

from __future__ import annotations

import io
import logging
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from api_server import ApiServer
from cluster import Cluster
from container_log import ContainerLog
from dagster_runs import run_job
from kubelet import now
from recorded_cloud import Cloud, model

from tobikodata.scheduler_facades.dagster._events.messages import TaskStarted
from tobikodata.scheduler_facades.dagster._kubernetes import pod_reader
from tobikodata.scheduler_facades.dagster._kubernetes.pod_log import OVERLAP_S, PodLog
from tobikodata.scheduler_facades.dagster._launch.connection import Connection

HOUR = "2026-01-02T03:04:05"


def read(log: PodLog, *streams: bytes) -> list[str]:
    """The lines of successive streams, each cut where it ends."""
    found: list[str] = []
    for data in streams:
        stream = log.stream()
        for at in range(0, len(data), 7):
            found += stream.feed(data[at : at + 7])
    return found


def stamped(nanoseconds: int, text: str) -> bytes:
    return f"{HOUR}.{nanoseconds:09d}Z {text}\n".encode()


def test_repeated_lines_are_skipped() -> None:
    lines = [stamped(n, f"line {n}") for n in range(5)]
    whole = b"".join(lines)
    assert read(PodLog(), whole[: len(whole) // 2 + 9], whole, whole) == [f"line {n}" for n in range(5)]


def test_lines_with_one_stamp_and_one_text_are_as_many_as_they_are() -> None:
    twice = stamped(1, "same") * 2
    assert read(PodLog(), stamped(1, "same"), twice, twice + stamped(1, "other")) == ["same", "same", "other"]


def test_a_line_stamped_before_one_that_stands_before_it_is_not_lost() -> None:
    assert read(PodLog(), stamped(9, "out"), stamped(9, "out") + stamped(3, "err")) == ["out", "err"]


def test_half_a_line_waits_for_the_next_stream_even_inside_a_character() -> None:
    line = stamped(1, "größe")
    for cut in range(len(line)):
        assert read(PodLog(), line[:cut], line) == ["größe"]


def test_the_next_stream_begins_a_little_before_the_end_of_the_last() -> None:
    log = PodLog()
    assert log.since is None
    read(log, stamped(123, "a"))
    assert OVERLAP_S == 5
    assert log.since == "2026-01-02T03:04:00Z"
    read(log, b"2026-01-02T05:04:06.000000001+02:00 b\n")  # a node with a zone of its own
    assert log.since == "2026-01-02T03:04:01Z"


def test_50_000_lines_over_streams_that_are_cut_anywhere() -> None:
    """Stamps out of order by up to 3 ms; each stream begins 2,000 lines before the end of the last."""
    dice = random.Random(5)
    lines = [stamped(n * 10_000 + dice.randrange(3_000_000), f"line {n}") for n in range(50_000)]
    log, lines_read, reached = PodLog(), [], 0
    while reached < len(lines):
        begin = max(0, reached - 2000)
        reached = min(len(lines), reached + dice.randrange(1, 10_000))
        data = b"".join(lines[begin:reached])
        cut = 0 if reached == len(lines) else dice.randrange(100)
        lines_read += list(log.stream().feed(data[: len(data) - cut]))
    assert sorted(lines_read, key=lambda text: int(text[5:])) == [f"line {n}" for n in range(50_000)]


def test_the_stand_in_writes_a_log_as_a_container_runtime_does() -> None:
    """Stamps of one width; a long line in parts, stamped once, without a newline between them."""
    log = ContainerLog()
    log.copy(io.BytesIO(b"a\n" + b"x" * 40_000 + b"\nend"), now)
    log.end()
    data = b"".join(log.read(follow=True, stamps=True, since="", tail=None))
    assert read(PodLog(), data) == ["a", "x" * 40_000]
    assert {len(line.split(b" ")[0]) for line in data.splitlines()} == {30}


def test_a_mirror_whose_log_streams_are_reset_again_and_again(
    kube_cloud: Cloud, stand_in: ApiServer, load_on: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_reader, "MAX_PAUSE_S", 0.02)
    finished_run(kube_cloud, 25)
    dice = random.Random(6)
    stand_in.cuts = [dice.randrange(1, 50_000) for _ in range(30)]
    result = run_job(load_on(), instance)
    assert result.success, result.log()
    assert len(result.materializations()) == 25
    assert len(result.checks()) == 50
    assert "was not understood" not in result.log()
    assert len(stand_in.cuts) < 25, "the streams were not cut"


def test_2000_messages_of_up_to_15_kb_arrive_once_and_in_order(
    cluster: Cluster,
    stand_in: ApiServer,
    instance: Any,
    test_messages: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No line is long enough for a container runtime to split it. A real cluster's image has no test binary."""
    monkeypatch.setattr(pod_reader, "MAX_PAUSE_S", 0.05)
    dice = random.Random(7)
    stand_in.cuts = [dice.randrange(1, 3_000_000) for _ in range(20)]
    stand_in.images["test-messages:test"] = tmp_path / "image"
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "tobiko-facade").symlink_to(Path(test_messages).resolve())
    context = SimpleNamespace(
        run_id="r", job_name="j", dagster_run=None, log=logging.getLogger("pod"), instance=instance
    )
    connection = Connection.checked("http://cloud.test", None, None, None)
    arguments = [
        "--count=2000",
        "--smallest=100",
        "--largest=15000",
        "--burst=200",
        "--pause-ms=20",
    ]
    events: list[Any] = []
    launcher = cluster.launcher(secret_name=None, image="test-messages:test")
    with launcher.launch(connection, arguments, context) as launched:
        for batch in launched.batches():
            events.extend(batch)
        assert launched.incomplete_reason() is None
    assert [int(event.node) for event in events if isinstance(event, TaskStarted)] == list(range(2000))
    assert max(len(event.link.encode()) for event in events if isinstance(event, TaskStarted)) > 14_000


def test_an_unavailable_end_of_the_log_fails_the_run(
    kube_cloud: Cloud, stand_in: ApiServer, load_on: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_reader, "MAX_PAUSE_S", 0.02)
    monkeypatch.setattr(pod_reader, "LAST_READ_LIMIT_S", 1)
    finished_run(kube_cloud, 3)
    stand_in.cuts = [1000] * 10_000
    result = run_job(load_on(), instance)
    assert result.status == "FAILURE"
    assert "did not return the end of the pod's log" in result.run_failure()


def test_a_stalled_stream_is_reopened(
    kube_cloud: Cloud, stand_in: ApiServer, load_on: Any, instance: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_reader, "IDLE_LIMIT_S", 1)
    finished_run(kube_cloud, 12)
    stand_in.stalls = [15_000, 100]
    result = run_job(load_on(), instance)
    assert result.success, result.log()
    assert len(result.checks()) == 24
    assert not stand_in.stalls


def finished_run(cloud: Cloud, count: int) -> None:
    names = [f"m{n}" for n in range(count)]
    cloud.environment(*(model(name, audits=("not_null", "unique")) for name in names))
    run = cloud.run("r1")
    for name in names:
        run.evaluated(name, "not_null", "unique")
    run.end()
