"""Wraps a method of SQLMesh, so that what goes in and what comes out is noted. Neither is changed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ._guard import safely
from ._log import log


@dataclass(frozen=True)
class Call:
    """One call of a wrapped method."""

    owner: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def argument(self, position: int, name: str) -> Any:
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else None


@dataclass(frozen=True)
class Outcome:
    """What it came to."""

    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Seam:
    """A method to wrap. `begin` answers what `end` needs, or None when there is nothing to note."""

    module: str
    owner: str
    method: str
    begin: Callable[[Call], Any]
    end: Callable[[Any, Outcome], None]


_wrapped: list[tuple[Any, str, Any]] = []


def wrap(seam: Seam) -> None:
    owner = getattr(importlib.import_module(seam.module), seam.owner, None)
    original = getattr(owner, "__dict__", {}).get(seam.method)
    if not callable(original):
        log.warning("this SQLMesh has no %s.%s: what it tells is not recorded", seam.owner, seam.method)
        return
    if hasattr(original, "_is_recorded"):
        return

    @functools.wraps(original)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        begun = safely(seam.begin, Call(self, args, kwargs))
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            if begun is not None:
                safely(seam.end, begun, Outcome(error=error))
            raise
        if begun is not None:
            safely(seam.end, begun, Outcome(result))
        return result

    recorded._is_recorded = True  # type: ignore[attr-defined]
    setattr(owner, seam.method, recorded)
    _wrapped.append((owner, seam.method, original))


def unwrap_all() -> None:
    while _wrapped:
        owner, name, original = _wrapped.pop()
        setattr(owner, name, original)
