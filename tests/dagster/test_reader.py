"""The reader of the Pipes channel loses nothing, doubles nothing, and keeps the order."""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tobikodata.scheduler_facades.dagster._reader import LosslessMessageReader


class Counting:
    """A session's handler that counts. Notes by how much a message came later than it was written."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.latest_s = 0.0

    def handle_message(self, message: dict[str, Any]) -> None:
        self.latest_s = max(self.latest_s, time.time() - message["at"])
        self.numbers.append(message["number"])


def line(number: int, size: int) -> bytes:
    return json.dumps({"number": number, "at": time.time(), "filler": "ä" * (size // 6)}).encode() + b"\n"


def write_badly(path: str, number: int, size: int, dice: random.Random) -> None:
    """In two writes, cut anywhere: inside a character, before the newline."""
    data = line(number, size)
    cut = dice.randrange(len(data))
    with open(path, "ab", buffering=0) as file:
        file.write(data[:cut])
        file.write(data[cut:])


def test_100_000_messages_in_bursts_arrive_once_and_in_order() -> None:
    dice = random.Random(7)
    handler, warnings = Counting(), []
    reader = LosslessMessageReader(warnings.append)
    with reader.read_messages(handler) as params:
        number = 0
        with open(params["path"], "ab", buffering=0) as file:
            while number < 100_000:
                burst = []
                for _ in range(dice.randrange(1, 2000)):
                    burst.append(line(number, 15_000 if dice.random() < 0.01 else 100))
                    number += 1
                data = b"".join(burst)
                cut = dice.randrange(len(data))
                file.write(data[:cut])
                file.write(data[cut:])
    assert handler.numbers == list(range(number))
    assert warnings == []


def test_each_message_is_handed_over_within_200_ms() -> None:
    dice = random.Random(8)
    handler = Counting()
    with LosslessMessageReader(pytest.fail).read_messages(handler) as params:
        for number in range(60):
            write_badly(params["path"], number, dice.choice((100, 15_000)), dice)
            time.sleep(dice.choice((0, 0, 0.05)))
    assert handler.numbers == list(range(60))
    assert handler.latest_s < 0.2


def test_half_a_line_waits_for_its_rest() -> None:
    handler = Counting()
    with LosslessMessageReader(pytest.fail).read_messages(handler) as params:
        data = line(1, 100)
        with open(params["path"], "ab", buffering=0) as file:
            for byte in range(len(data)):
                file.write(data[byte : byte + 1])
                if byte % 20 == 0:
                    time.sleep(0.03)
    assert handler.numbers == [1]


def test_a_line_that_cannot_be_read_is_told_and_the_next_ones_come() -> None:
    handler, warnings = Counting(), []
    reader = LosslessMessageReader(warnings.append)
    with reader.read_messages(handler) as params, open(params["path"], "ab", buffering=0) as file:
        file.write(b"no json\n\n" + line(1, 100) + b"[1]\n" + b"\xff\xfe\n" + line(2, 100))
        file.write(b'{"no": "number"}\n' + line(3, 100))
        file.write(b'{"cut": "off')
    assert handler.numbers == [1, 2, 3]
    assert len(warnings) == 5
    assert "was cut off" in warnings[-1]


def test_what_was_written_before_the_end_is_read() -> None:
    handler = Counting()
    reader = LosslessMessageReader(pytest.fail)
    with reader.read_messages(handler) as params, open(params["path"], "ab", buffering=0) as file:
        file.write(b"".join(line(number, 1000) for number in range(5000)))
    assert len(handler.numbers) == 5000


def test_what_is_written_just_before_the_stop_is_read() -> None:
    """The stop comes between a look at the file that found nothing and the question whether it has come."""

    class LateStop:
        path = ""
        asked = 0

        def is_set(self) -> bool:
            self.asked += 1
            if self.asked == 2:
                with open(self.path, "ab") as file:
                    file.write(line(1, 100))
            return self.asked >= 2

        def wait(self, _: float) -> None: ...

        def set(self) -> None: ...

    handler, stop = Counting(), LateStop()
    reader = LosslessMessageReader(pytest.fail)
    reader._stop = stop  # type: ignore[assignment]
    original = tempfile.TemporaryDirectory.__enter__

    def enter(folder: Any) -> str:
        stop.path = os.path.join(original(folder), "messages")
        return folder.name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile.TemporaryDirectory, "__enter__", enter)
        with reader.read_messages(handler):
            pass
    assert handler.numbers == [1]


def test_a_writer_in_another_process_loses_nothing() -> None:
    """Two processes on one file, as the executable and this one are."""
    handler = Counting()
    with LosslessMessageReader(pytest.fail).read_messages(handler) as params:
        child = os.fork()
        if child == 0:
            dice = random.Random(9)
            for number in range(3000):
                write_badly(params["path"], number, 300, dice)
            os._exit(0)
        os.waitpid(child, 0)
    assert handler.numbers == list(range(3000))


def test_the_reader_leaves_no_thread_and_no_file() -> None:
    before = threading.active_count()
    with LosslessMessageReader(pytest.fail).read_messages(Counting()) as params:
        assert Path(params["path"]).exists()
    assert threading.active_count() == before
    assert not Path(params["path"]).exists()
