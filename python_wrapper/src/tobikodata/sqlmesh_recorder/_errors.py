"""What went wrong, in words: SQLMesh's exceptions as messages and logs for people."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from typing import Any

from ._text import MESSAGE_CHARACTERS, cut

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def status_of(error: BaseException | None, failed: bool) -> str:
    if is_abort(error):
        return "aborted"
    return "failed" if failed or error is not None else "success"


def is_abort(error: BaseException | None) -> bool:
    return error is not None and not isinstance(error, Exception)


def message_of(error: BaseException) -> str:
    """The exception's text, with the root cause where that text hides it."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SystemExit):
        return f"the process ended with exit code {error.code}"
    text = _own_text(error)
    *_, root = chain(error)
    cause = _own_text(root)
    details = dict.fromkeys([*map(str, errors_in(error)), cause])
    missing = [detail for detail in details if detail not in text]
    if cause in text and not text.startswith(cause):  # at the end of an excerpt of the model's code
        text = f"{cause}\n{text}"
    return cut(_COLOUR.sub("", "\n".join([text, *missing])).strip(), MESSAGE_CHARACTERS)


def traceback_of(error: BaseException) -> str:
    return _COLOUR.sub("", "".join(traceback.format_exception(type(error), error, error.__traceback__)))


def errors_in(error: BaseException) -> Sequence[Any]:
    """The errors that SQLMesh gathered in this one. (In pydantic's, `errors` is a method.)"""
    errors = getattr(error, "errors", None)
    return errors if isinstance(errors, (list, tuple)) else ()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The exception and what is behind it: its causes and, for SQLMesh's own, what it was handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        is_wrapper = type(error).__module__.startswith("sqlmesh.") and not error.__suppress_context__
        error = error.__cause__ or (error.__context__ if is_wrapper else None)


def _own_text(error: BaseException) -> str:
    text, kind = str(error).strip(), type(error)
    if not text:
        return kind.__name__
    return text if kind.__module__.startswith("sqlmesh.") else f"{kind.__name__}: {text}"
