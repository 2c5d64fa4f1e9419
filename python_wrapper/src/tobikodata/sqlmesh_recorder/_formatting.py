"""SQLMesh's values in the form that events carry: times, names, exceptions and long texts."""

from __future__ import annotations

import importlib
import re
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

LOG_CHARACTERS = 64 * 1024
MESSAGE_CHARACTERS = 16 * 1024
_texts: dict[int, tuple[Any, str]] = {}  # by id; the expression is kept, so that no other gets its id
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


def now() -> str:
    """Now, as ISO 8601 in UTC."""
    return utc(time.time())


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def timestamp(when: Any) -> str | None:
    """One of SQLMesh's times (milliseconds, text or date), as ISO 8601 in UTC."""
    try:
        return None if when is None else utc(milliseconds(when) / 1000)
    except (ValueError, OverflowError, OSError):  # a year that Python does not support
        return None


def milliseconds(when: Any) -> Any:
    if when is None or isinstance(when, int):
        return when
    return importlib.import_module("sqlmesh.utils.date").to_timestamp(when)


def node_name(unit: Any) -> str:
    """The snapshot's name of a unit of work: an object, a snapshot id or, in older versions, a tuple."""
    if isinstance(unit, tuple) and not hasattr(unit, "name"):
        unit = unit[0]
    names = (getattr(unit, "snapshot_name", None), getattr(unit, "name", None), unit)
    return next((name for name in names if isinstance(name, str)), "")


def arguments_text(arguments: Mapping[str, Any] | None) -> str | None:
    """An audit's arguments as a person reads them, or None. Identifies one of several uses of an audit in a model.

    Whether it blocks is no argument of its query, and is reported apart.
    """
    values = {name: value for name, value in (arguments or {}).items() if name != "blocking"}
    texts = (f"{name} := {_text_of(value)}" for name, value in values.items())
    return truncate_middle(", ".join(texts), MESSAGE_CHARACTERS) or None


def _text_of(argument: Any) -> str:
    """An expression's text is made once in a run: for the model's audit, then for each time it is evaluated."""
    if not hasattr(argument, "sql"):
        return str(argument)
    known = _texts.get(id(argument))
    if known is None:
        known = _texts[id(argument)] = argument, argument.sql()
    return str(known[1])


def forget_texts() -> None:
    _texts.clear()


def truncate_middle(text: str, limit: int) -> str:
    """Truncates a long text in the middle: its beginning identifies it, its end holds the cause."""
    half = limit // 2
    if len(text) <= limit:
        return text
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


def status_of(error: BaseException | None, failed: bool) -> str:
    if is_abort(error):
        return "aborted"
    return "failed" if failed or error is not None else "success"


def is_abort(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, Exception)


def message_of(error: BaseException) -> str:
    """The exception's message, with the root cause if the message hides it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit):
        return f"the process exited with code {error.code}"
    text = _own_message(error)
    *_, root = causes(error)
    cause = _own_message(root)
    details = dict.fromkeys([*map(str, errors_in(error)), cause])
    missing = [detail for detail in details if detail not in text]
    if cause in text and not text.startswith(cause):  # at the end of an excerpt of the model's code
        text = f"{cause}\n{text}"
    return truncate_middle(_COLOR.sub("", "\n".join([text, *missing])).strip(), MESSAGE_CHARACTERS)


def traceback_of(error: BaseException) -> str:
    return _COLOR.sub("", "".join(traceback.format_exception(type(error), error, error.__traceback__)))


def errors_in(error: BaseException) -> Sequence[Any]:
    """The errors that SQLMesh collected in this one. (In pydantic's exceptions, `errors` is a method.)"""
    errors = getattr(error, "errors", None)
    return errors if isinstance(errors, (list, tuple)) else ()


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and those behind it: its causes and, for SQLMesh's own, the one that was being handled."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        is_wrapper = type(error).__module__.startswith("sqlmesh.") and not error.__suppress_context__
        error = error.__cause__ or (error.__context__ if is_wrapper else None)


def _own_message(error: BaseException) -> str:
    text, kind = str(error).strip(), type(error)
    if not text:
        return kind.__name__
    return text if kind.__module__.startswith("sqlmesh.") else f"{kind.__name__}: {text}"
