"""Runs a command and measures it with all processes that it starts: time, CPU, memory, processes.

How, on Linux:
- CPU: the kernel adds up what each process and its awaited children used (wait4). Children that outlive their parent come
  to this process, as their subreaper, and are awaited here.
- Processes: the kernel's process connector tells of every fork, so those that live for a millisecond count too; threads do
  not. It needs root: without it there is no count.
- Memory: the proportional set size (what is shared counts once) of the whole tree, looked at every 0.1 s: the highest sum
  that was there for two looks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

SAMPLE_EVERY_S = 0.1
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Measured:
    exit_code: int
    begun: float  # time.monotonic()
    wall_s: float
    cpu_s: float
    memory_mb: float
    processes: int | None
    # The most that the command's own process held. (What wait4 tells of that counts what its parent held at the start.)
    own_mb: float


def run(argv: Sequence[str], env: Mapping[str, str], stdout: Path, stderr: Path, limit_s: float) -> Measured:
    """Runs to the end; after `limit_s` the whole tree is killed."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    strangers = set(_children(os.getpid()))
    with _Forks() as forks, stdout.open("wb") as out, stderr.open("wb") as err:
        begun = time.monotonic()
        process = subprocess.Popen(list(argv), env=dict(env), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        memory = _Memory(process.pid)
        memory.start()
        # Not reaped yet: wait4 below tells what it used.
        own_kb = 0
        while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() - begun > limit_s:
                for pid in [process.pid, *_descendants(process.pid)]:
                    os.kill(pid, signal.SIGKILL)
            own_kb = max(own_kb, _high_water_kb(process.pid))
            time.sleep(0.002)
        wall_s = time.monotonic() - begun
        memory.stop()
        used = [os.wait4(process.pid, 0)]
        process.returncode = os.waitstatus_to_exitcode(used[0][1])
        used += _orphans(strangers)
        counted = forks.settled()
    usages = [usage for _, _, usage in used]
    return Measured(
        exit_code=process.returncode,
        begun=begun,
        wall_s=wall_s,
        cpu_s=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        memory_mb=memory.peak_kb / 1024,
        processes=counted,
        own_mb=own_kb / 1024,
    )


def _orphans(strangers: set[int]) -> list[tuple[int, int, object]]:
    """What outlived its parent: awaited for 10 s, then killed."""
    used = []
    until = time.monotonic() + 10
    while left := set(_children(os.getpid())) - strangers:
        for pid in left:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            ended = os.wait4(pid, os.WNOHANG)
            if ended[0]:
                used.append(ended)
        time.sleep(0.01)
    return used


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    except OSError:  # it has ended
        pass
    return found


def _descendants(pid: int) -> list[int]:
    found = _children(pid)
    for child in found:
        found += _descendants(child)
    return found


class _Memory(Thread):
    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._over = Event()
        self.peak_kb = 0

    def run(self) -> None:
        before = 0
        while not self._over.wait(SAMPLE_EVERY_S):
            now = sum(map(_pss_kb, [self._pid, *_descendants(self._pid)]))
            # A process that is just being started shows its parent's memory once more.
            self.peak_kb = max(self.peak_kb, min(before, now))
            before = now

    def stop(self) -> None:
        self._over.set()
        self.join()


def _pss_kb(pid: int) -> int:
    return _kb(f"/proc/{pid}/smaps_rollup", "Pss:")


def _high_water_kb(pid: int) -> int:
    return _kb(f"/proc/{pid}/status", "VmHWM:")


def _kb(file: str, what: str) -> int:
    try:
        for line in Path(file).read_text().splitlines():
            if line.startswith(what):
                return int(line.split()[1])
    except OSError:  # it has ended
        pass
    return 0


class _Forks:
    """Counts the processes below this one, as the process connector announces them."""

    _CONNECTOR, _FORK, _EXIT = 11, 0x1, 0x80000000

    def __enter__(self) -> _Forks:
        self._tree = {os.getpid()}
        self._count = 0
        self._over = Event()
        self._socket: socket.socket | None = None
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, self._CONNECTOR)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            self._socket.bind((0, 1))
            self._socket.settimeout(0.2)
            listen = struct.pack("=IIIIHHI", 1, 1, 0, 0, 4, 0, 1)
            self._socket.send(struct.pack("=IHHII", 16 + len(listen), 3, 0, 0, os.getpid()) + listen)
        except OSError:
            self._socket = None
            return self
        self._thread = Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.settled()
        if self._socket:
            self._socket.close()

    def settled(self) -> int | None:
        """The count, when all that has happened is heard."""
        if self._socket is None:
            return None
        self._over.set()
        self._thread.join()
        return self._count

    def _listen(self) -> None:
        assert self._socket
        while True:
            if self._over.is_set():
                self._socket.setblocking(False)  # only what has come already
            try:
                message = self._socket.recv(4096)
            except TimeoutError:
                continue
            except BlockingIOError:
                return
            # After the headers of netlink (16 bytes) and of the connector (20): what, cpu, time, then what it is about.
            (what,) = struct.unpack_from("=I", message, 36)
            if what == self._FORK and len(message) >= 68:
                _, parent, thread, process = struct.unpack_from("=IIII", message, 52)
                if thread == process and parent in self._tree:
                    self._tree.add(process)
                    self._count += 1
