"""What one audit has found, read off SQLMesh's result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._guard import safely
from ._text import MESSAGE_CHARACTERS, cut
from ._times import now


@dataclass(frozen=True)
class Audit:
    result: Any
    name: str
    count: int | None  # of the rows that should not be there
    blocking: bool

    @classmethod
    def of(cls, result: Any) -> Audit:
        return cls(result, result.audit.name, result.count, bool(result.blocking))

    def fields(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "args": safely(_arguments, self.result),
            "status": "failed" if self.count else "success",
            "blocking": self.blocking,
            "count": self.count,
            "execution_time": now(),
            "log": safely(_query, self.result),
        }

    def rows(self) -> str:
        return f"{self.count} {'row' if self.count == 1 else 'rows'}"

    def verdict(self) -> str:
        if not self.count:
            return f"{self.name} passed"
        return f"{self.name} failed ({self.rows()}, {'blocking' if self.blocking else 'a warning'})"


def _arguments(result: Any) -> str | None:
    arguments = getattr(result, "audit_args", None) or {}
    texts = (f"{name} := {value.sql() if hasattr(value, 'sql') else value}" for name, value in arguments.items())
    return cut(", ".join(texts), MESSAGE_CHARACTERS) or None


def _query(result: Any) -> str | None:
    return cut(result.query.sql(pretty=True), MESSAGE_CHARACTERS) if result.query is not None else None
