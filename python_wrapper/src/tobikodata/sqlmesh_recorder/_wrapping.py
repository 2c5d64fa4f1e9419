"""Wraps a method of SQLMesh to observe its arguments, its result and its exception. None of them is changed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ._guard import log, safely


@dataclass(frozen=True)
class Call:
    """One call of a wrapped method."""

    owner: Any
    args: Sequence[Any]
    kwargs: Mapping[str, Any]

    def argument(self, position: int, name: str) -> Any:
        """An argument, however it was passed; None if it was not."""
        if name in self.kwargs:
            return self.kwargs[name]
        return self.args[position] if len(self.args) > position else None


@dataclass(frozen=True)
class Outcome:
    """How the call ended."""

    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True)
class Hook:
    """A method to wrap. `before` returns what `after` needs, or None if there is nothing to record."""

    module: str
    owner: str
    method: str
    before: Callable[[Call], Any]
    after: Callable[[Any, Outcome], None]


_wrapped: list[tuple[Any, str, Any]] = []


def wrap(hook: Hook) -> None:
    """Replaces the method with one that calls the hook; logs a warning if this SQLMesh lacks it."""
    owner = getattr(importlib.import_module(hook.module), hook.owner, None)
    original = getattr(owner, "__dict__", {}).get(hook.method)
    if not callable(original):
        log.warning("this SQLMesh has no %s.%s: its calls are not recorded", hook.owner, hook.method)
        return
    if hasattr(original, "_is_recorded"):
        return

    @functools.wraps(original)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:
        state = safely(hook.before, Call(self, args, kwargs))
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            if state is not None:
                safely(hook.after, state, Outcome(error=error))
            raise
        if state is not None:
            safely(hook.after, state, Outcome(result))
        return result

    recorded._is_recorded = True  # type: ignore[attr-defined]
    setattr(owner, hook.method, recorded)
    _wrapped.append((owner, hook.method, original))


def unwrap_all() -> None:
    while _wrapped:
        owner, name, original = _wrapped.pop()
        setattr(owner, name, original)
