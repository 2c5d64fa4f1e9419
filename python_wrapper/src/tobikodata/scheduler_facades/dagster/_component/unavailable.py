"""What stands for the component where Dagster is too old for it: the package loads, and using it says what it needs."""

from __future__ import annotations

from typing import Any

import dagster as dg

OLDEST = "1.12"


class SQLMeshComponent:
    """Needs a newer Dagster.

    Raises:
        ImportError: On every use.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        raise _too_old()

    def __init_subclass__(cls, **_: Any) -> None:
        raise _too_old()


def _too_old() -> ImportError:
    return ImportError(
        f"SQLMeshComponent needs Dagster {OLDEST} or later, and this is {dg.__version__}: upgrade dagster, or declare "
        "the environment in Python with SQLMeshEnterpriseDagster(...).create_definitions(...)"
    )
