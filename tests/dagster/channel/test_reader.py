"""The reader of the Pipes channel loses nothing, duplicates nothing and keeps the order."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from tobikodata.scheduler_facades.dagster._events.messages import Unreadable
from tobikodata.scheduler_facades.dagster._events.reader import EventReader


class Counting(EventReader):
    """Records the messages, and the longest delay between writing and handling one."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self.latest_s = 0.0
        self.printed = ""

    def handle_message(self, message: Any) -> None:
        self.latest_s = max(self.latest_s, time.time() - message["at"])
        self.numbers.append(message["number"])

    def print(self, text: str) -> None:
        self.printed += text

    @property
    def unreadable(self) -> list[str]:
        return [event.why for event in self.take(0) if isinstance(event, Unreadable)]


@contextmanager
def channel(reader: Counting) -> Iterator[int]:
    """The writing end of a pipe that is read until it is closed."""
    read, write = os.pipe()
    follower = Thread(target=reader.follow, args=(os.fdopen(read, "rb"), reader.print))
    follower.start()
    try:
        yield write
    finally:
        os.close(write)
        follower.join()


def line(number: int, size: int) -> bytes:
    message = {"__dagster_pipes_version": "0.1", "number": number, "at": time.time(), "filler": "ä" * (size // 6)}
    return json.dumps(message).encode() + b"\n"


def write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def write_badly(pipe: int, data: bytes, dice: random.Random) -> None:
    """In two writes, cut anywhere: inside a character, before the newline."""
    cut = dice.randrange(len(data))
    write(pipe, data[:cut])
    write(pipe, data[cut:])


def test_100_000_messages_in_bursts_arrive_once_and_in_order() -> None:
    dice = random.Random(7)
    reader = Counting()
    with channel(reader) as pipe:
        number = 0
        while number < 100_000:
            burst = []
            for _ in range(dice.randrange(1, 2000)):
                burst.append(line(number, 15_000 if dice.random() < 0.01 else 100))
                number += 1
            write_badly(pipe, b"".join(burst), dice)
    assert reader.numbers == list(range(number))
    assert reader.unreadable == []
    assert not reader.printed, reader.printed[:200]


def test_each_message_that_arrives_in_parts_is_handled_within_200_ms() -> None:
    dice = random.Random(8)
    reader = Counting()
    with channel(reader) as pipe:
        for number in range(60):
            write_badly(pipe, line(number, dice.choice((100, 15_000))), dice)
            time.sleep(dice.choice((0, 0, 0.05)))
    assert reader.numbers == list(range(60))
    assert reader.latest_s < 0.2


def test_half_a_line_waits_for_its_rest() -> None:
    reader = Counting()
    data = line(1, 100)
    with channel(reader) as pipe:
        for byte in range(len(data)):
            write(pipe, data[byte : byte + 1])
            if byte % 20 == 0:
                time.sleep(0.03)
    assert reader.numbers == [1]


def test_an_unreadable_line_is_reported_and_the_next_ones_are_read() -> None:
    reader = Counting()
    with channel(reader) as pipe:
        write(pipe, line(1, 100) + b'["__dagster_pipes_version"]\n' + b'\xff"__dagster_pipes_version"\xfe\n')
        write(pipe, line(2, 100) + b'{"__dagster_pipes_version": "0.1", "no": "number"}\n' + line(3, 100))
        write(pipe, b'{"__dagster_pipes_version": "0.1", "cut": "off')
    assert reader.numbers == [1, 2, 3]
    unreadable = reader.unreadable
    assert len(unreadable) == 4
    assert "was cut off" in unreadable[-1]


def test_other_output_is_forwarded() -> None:
    reader = Counting()
    with channel(reader) as pipe:
        write(
            pipe, "no message, ä\n\n".encode() + line(1, 100) + b'{"json": "of something else"}\n\xff\nwithout an end'
        )
    assert reader.numbers == [1]
    assert reader.unreadable == []
    assert reader.printed == 'no message, ä\n\n{"json": "of something else"}\n�\nwithout an end'


def test_what_was_written_before_the_end_is_read() -> None:
    reader = Counting()
    with channel(reader) as pipe:
        write(pipe, b"".join(line(number, 1000) for number in range(50)))
    assert len(reader.numbers) == 50


def test_a_writer_in_another_process_loses_nothing() -> None:
    """Two processes on one pipe, as the executable and this one are."""
    reader = Counting()
    with channel(reader) as pipe:
        child = os.fork()
        if child == 0:
            dice = random.Random(9)
            for number in range(3000):
                write_badly(pipe, line(number, 300), dice)
            os._exit(0)
        os.waitpid(child, 0)
    assert reader.numbers == list(range(3000))
