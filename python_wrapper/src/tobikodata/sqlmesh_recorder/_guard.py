"""Keeps the recorder's own failures away from SQLMesh, and logs them."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Callable

# A library's logger: its messages appear where the user has configured logging.
log = logging.getLogger("tobikodata.sqlmesh_recorder")
log.addHandler(logging.NullHandler())

_failed: set[str] = set()


def safely(function: Callable[..., Any], *args: Any) -> Any:
    """Calls one of the recorder's functions and returns its result, or logs its exception and returns None."""
    try:
        return function(*args)
    except Exception:
        with contextlib.suppress(Exception):
            name = getattr(function, "__qualname__", "?")
            level = failure_level(is_new=name not in _failed)
            _failed.add(name)
            log.log(level, "failed to record (%s)", name, exc_info=True)
        return None


def failure_level(is_new: bool) -> int:
    """A failure that repeats is a warning only the first time."""
    return logging.WARNING if is_new else logging.DEBUG


def forget_failures() -> None:
    _failed.clear()
