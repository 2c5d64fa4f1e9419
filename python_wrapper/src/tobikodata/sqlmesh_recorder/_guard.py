"""What keeps trouble of ours away from SQLMesh."""

from __future__ import annotations

import contextlib
from typing import Any, Callable

from ._log import level_of_trouble, log

_broken: set[str] = set()


def safely(function: Callable[..., Any], *args: Any) -> Any:
    """Calls one of our own functions; whatever goes wrong in it stays in here."""
    try:
        return function(*args)
    except Exception:
        with contextlib.suppress(Exception):
            name = getattr(function, "__qualname__", "?")
            level = level_of_trouble(is_news=name not in _broken)
            _broken.add(name)
            log.log(level, "failed to record (%s)", name, exc_info=True)
        return None


def forget_what_broke() -> None:
    _broken.clear()
