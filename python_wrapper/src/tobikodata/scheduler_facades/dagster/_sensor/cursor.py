"""What the sensor remembers from one tick to the next: a small versioned JSON record, and pure functions.

The original package's cursors are understood: a bare run id, and a mark that only the sync was asked for.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

VERSION = 1
ORIGINAL_SYNCED = "__initial_sync_complete__"

# A reload is tried with the run that brought a new fingerprint, and once more with the next run.
RELOADS_FOR_EACH_FINGERPRINT = 2
# The daemon of Dagster 1.9.1 has a code server of its own, which is renewed a minute or so after the reload.
WAIT_TICKS = 3
# A mirror, or a sync, that died is asked for again twice.
ATTEMPTS = 3


@dataclass(frozen=True)
class Cursor:
    """Where the sensor stands."""

    # The first sync has been asked for.
    synced: bool = False
    # How often a sync was asked for; 0: the last one has ended.
    sync_attempt: int = 0
    # The newest remote run that was dealt with; None: there was none.
    last: str | None = None
    # How often its mirror was asked for; 0: never, by this sensor.
    attempt: int = 0
    # Of the next runs, mirror the newest only.
    newest_only: bool = False
    # The fingerprint for which a reload was tried last, and the remote runs with which it was tried.
    reload_for: str | None = None
    reload_with: tuple[str, ...] = ()
    # For how many more ticks to wait until what was reloaded is what ticks.
    reload_wait: int = 0
    # The fingerprint that Dagster's page is known to show. What ticks may be newer: the daemon of Dagster 1.9.1 renews
    # its own code server every minute, and not the webserver's.
    shown: str | None = None

    def asked_for_sync(self, attempt: int = 1) -> Cursor:
        return replace(self, sync_attempt=attempt)

    def sync_over(self) -> Cursor:
        return replace(self, sync_attempt=0)

    def asked_for(self, run_id: str) -> Cursor:
        return replace(self, synced=True, last=run_id, attempt=1, newest_only=False)

    def asked_again(self) -> Cursor:
        return replace(self, attempt=self.attempt + 1)

    def passed(self, run_id: str | None) -> Cursor:
        """Synced up to this run, which is not to be mirrored."""
        return replace(self, synced=True, last=run_id, attempt=0, newest_only=False)

    def may_reload(self, fingerprint: str, with_run: str) -> bool:
        if self.reload_for != fingerprint:
            return True
        return with_run not in self.reload_with and len(self.reload_with) < RELOADS_FOR_EACH_FINGERPRINT

    def reloaded(self, fingerprint: str, with_run: str, *, worked: bool) -> Cursor:
        tried = self.reload_with if self.reload_for == fingerprint else ()
        return replace(
            self,
            reload_for=fingerprint,
            reload_with=(*tried, with_run),
            reload_wait=WAIT_TICKS if worked else 0,
            shown=fingerprint if worked else self.shown,
        )

    def showing(self, fingerprint: str | None) -> Cursor:
        return replace(self, shown=fingerprint)

    def waited(self) -> Cursor:
        return replace(self, reload_wait=self.reload_wait - 1)


def parse(text: str | None) -> Cursor:
    """An empty cursor is one that has seen nothing."""
    if not text:
        return Cursor()
    if text == ORIGINAL_SYNCED:
        return Cursor(synced=True, newest_only=True)
    record = _json_object(text)
    if record is None:
        return Cursor(synced=True, last=text)
    tried = record.get("reload_with")
    return Cursor(
        synced=bool(record.get("synced")),
        sync_attempt=_number(record.get("sync_attempt")),
        last=_text(record.get("last")),
        attempt=_number(record.get("attempt")),
        newest_only=bool(record.get("newest_only")),
        reload_for=_text(record.get("reload_for")),
        reload_with=tuple(str(run) for run in tried) if isinstance(tried, list) else (),
        reload_wait=_number(record.get("reload_wait")),
        shown=_text(record.get("shown")),
    )


def write(cursor: Cursor) -> str:
    return json.dumps({"version": VERSION, **asdict(cursor)}, separators=(",", ":"))


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        record = json.loads(text)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "version" in record else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0
