"""The lines of a pod's log, each once, across any number of broken connections.

The API server cuts a log stream now and then. The next one begins a little before the end of the last; lines that were
read before are recognized by timestamp and text. Timestamps alone are not enough: stdout and stderr are stamped
separately, so that a line may follow a later one, and several may share one timestamp.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone

# How far back a new stream begins: longer than lines of stdout and stderr are ever out of order.
OVERLAP_S = 5

# As the kubelet writes it: always nine digits, in UTC or in the node's time zone.
_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(Z|[+-]\d\d:\d\d) (.*)", re.DOTALL)

KEPT_LINES = 20_000


class PodLog:
    """What has been read of a container's log so far."""

    def __init__(self) -> None:
        self._newest_ns = 0
        self._seen: Counter[tuple[int, int]] = Counter()
        self._forget_at = KEPT_LINES
        self._second = (b"", 0)

    @property
    def since(self) -> str | None:
        """The time from which to request the next stream; None: from the beginning."""
        if not self._newest_ns:
            return None
        second = self._newest_ns // 1_000_000_000 - OVERLAP_S
        return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def stream(self) -> LogStream:
        return LogStream(self)

    def new(self, line: bytes, in_this_stream: Counter[tuple[int, int]]) -> bytes | None:
        """The text of a line without its timestamp; None if it has been read before."""
        stamped = _STAMPED.fullmatch(line)
        if stamped is None:  # no kubelet writes such a line; better twice than lost
            return line
        stamp_ns = self._nanoseconds(stamped[1], stamped[3]) + int(stamped[2])
        key = (stamp_ns, hash(stamped[4]))
        in_this_stream[key] += 1
        if in_this_stream[key] <= self._seen[key]:
            return None
        self._seen[key] += 1
        self._newest_ns = max(self._newest_ns, stamp_ns)
        if len(self._seen) > self._forget_at:
            self._forget()
        return stamped[4]

    def _nanoseconds(self, second: bytes, zone: bytes) -> int:
        text = second + zone
        if self._second[0] != text:  # thousands of lines may share a second
            moment = datetime.fromisoformat(text.replace(b"Z", b"+00:00").decode())
            self._second = (text, int(moment.timestamp()) * 1_000_000_000)
        return self._second[1]

    def _forget(self) -> None:
        """Drops lines that no later stream repeats."""
        oldest = self._newest_ns - 2 * OVERLAP_S * 1_000_000_000
        self._seen = Counter({key: count for key, count in self._seen.items() if key[0] >= oldest})
        # However many are left: the next time is far enough away for the cost not to matter.
        self._forget_at = max(KEPT_LINES, 2 * len(self._seen))


class LogStream:
    """The bytes of one connection, split into lines."""

    def __init__(self, log: PodLog) -> None:
        self._log = log
        self._rest = b""
        self._in_this_stream: Counter[tuple[int, int]] = Counter()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The new lines. What follows the last newline is buffered."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._take(line)

    def finish(self) -> Iterator[str]:
        """The last line of a log that has ended without a newline."""
        rest, self._rest = self._rest, b""
        yield from self._take(rest)

    def _take(self, line: bytes) -> Iterator[str]:
        text = self._log.new(line, self._in_this_stream) if line else None
        if text:
            yield text.decode("utf-8", "replace")
