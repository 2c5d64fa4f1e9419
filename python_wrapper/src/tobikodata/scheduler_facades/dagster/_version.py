"""Refuses a Dagster that is missing or too old, before anything else is imported from it."""

from __future__ import annotations

from importlib import metadata

OLDEST = "1.9.1"


def require_dagster() -> None:
    try:
        installed = metadata.version("dagster")
    except metadata.PackageNotFoundError:
        raise ImportError(
            "Dagster is not installed: install this package's wheel with its extra, "
            '`pip install "$(ls dist/*.whl)[dagster]"` (the name tobiko-cloud-scheduler-facade alone fetches the '
            "vendor's 1.0.9 until 2.0 is published)"
        ) from None
    if is_too_old(installed):
        raise ImportError(
            f"Dagster {installed} is too old for tobiko-cloud-scheduler-facade, which needs {OLDEST} or "
            "later: run `pip install --upgrade dagster dagster-graphql`"
        )


def is_too_old(installed: str) -> bool:
    from packaging.version import Version  # one of Dagster's own requirements

    return Version(installed) < Version(OLDEST)
