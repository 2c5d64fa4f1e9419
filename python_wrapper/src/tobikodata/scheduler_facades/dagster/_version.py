"""Versions: Dagster's, which is refused where it is missing or too old before anything else is imported from it, and
this package's own, which a code location shows beside it."""

from __future__ import annotations

from importlib import metadata

OLDEST = "1.9.1"
DISTRIBUTION = "tobiko-cloud-scheduler-facade"


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


def register_version() -> None:
    """Adds this package to the library versions that Dagster shows of a code location. From sources, it has none."""
    from ._internals import DagsterLibraryRegistry  # needs Dagster

    try:
        installed = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return
    DagsterLibraryRegistry.register(DISTRIBUTION, installed, is_dagster_package=False)


def is_too_old(installed: str) -> bool:
    from packaging.version import Version  # one of Dagster's own requirements

    return Version(installed) < Version(OLDEST)
