"""Times as the events tell them: ISO 8601, UTC."""

from __future__ import annotations

import importlib
import time
from datetime import datetime, timezone
from typing import Any


def now() -> str:
    return _utc(time.time())


def instant(when: Any) -> str | None:
    """A time as SQLMesh writes it: milliseconds, text, date."""
    try:
        return None if when is None else _utc(milliseconds(when) / 1000)
    except (ValueError, OverflowError, OSError):  # a year that Python does not have
        return None


def milliseconds(when: Any) -> Any:
    if when is None or isinstance(when, int):
        return when
    return importlib.import_module("sqlmesh.utils.date").to_timestamp(when)


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
