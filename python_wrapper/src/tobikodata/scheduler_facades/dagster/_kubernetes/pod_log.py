"""A pod's log as lines, each once, whatever becomes of the connections that bring it.

The API server cuts a log stream now and then. The next one begins a little before the end of the last; what came
before is known by its time stamp and text. Stamps alone would not do: stdout and stderr are stamped apart, so that a
line may stand behind a later one, and several may bear the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone

# How far back a new stream begins: more than lines of stdout and stderr are ever out of order.
OVERLAP_S = 5

# As the kubelet writes it: always nine digits, in UTC or in the node's own zone.
_STAMPED = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})(Z|[+-]\d\d:\d\d) (.*)", re.DOTALL)

KEPT_LINES = 20_000


class PodLog:
    """What has been read of one container's log."""

    def __init__(self) -> None:
        self._newest_ns = 0
        self._seen: Counter[tuple[int, int]] = Counter()
        self._forget_at = KEPT_LINES
        self._second = (b"", 0)

    @property
    def since(self) -> str | None:
        """Where the next stream is to begin; None: at the beginning."""
        if not self._newest_ns:
            return None
        second = self._newest_ns // 1_000_000_000 - OVERLAP_S
        return datetime.fromtimestamp(second, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

    def stream(self) -> LogStream:
        return LogStream(self)

    def new(self, line: bytes, in_this_stream: Counter[tuple[int, int]]) -> bytes | None:
        """The text of a stamped line; None if it has been read before."""
        stamped = _STAMPED.fullmatch(line)
        if stamped is None:  # no kubelet writes such a line; it is better told twice than lost
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
        if self._second[0] != text:  # lines come by the thousand in a second
            moment = datetime.fromisoformat(text.replace(b"Z", b"+00:00").decode())
            self._second = (text, int(moment.timestamp()) * 1_000_000_000)
        return self._second[1]

    def _forget(self) -> None:
        """Lines that no later stream brings again."""
        oldest = self._newest_ns - 2 * OVERLAP_S * 1_000_000_000
        self._seen = Counter({key: count for key, count in self._seen.items() if key[0] >= oldest})
        # However many came within that time: looked through only so often that it costs nothing.
        self._forget_at = max(KEPT_LINES, 2 * len(self._seen))


class LogStream:
    """What one connection brings, cut into lines."""

    def __init__(self, log: PodLog) -> None:
        self._log = log
        self._rest = b""
        self._in_this_stream: Counter[tuple[int, int]] = Counter()

    def feed(self, chunk: bytes) -> Iterator[str]:
        """The new lines. What comes after the last newline waits for its rest."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            yield from self._take(line)

    def finish(self) -> Iterator[str]:
        """A last line without an end, of a log that has ended."""
        rest, self._rest = self._rest, b""
        yield from self._take(rest)

    def _take(self, line: bytes) -> Iterator[str]:
        text = self._log.new(line, self._in_this_stream) if line else None
        if text:
            yield text.decode("utf-8", "replace")
