"""One stack for all tests of this folder: they tell one story, in the order in which they stand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stack import Stack, running


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("whole")) as stack:
        stack.plan("--execution-time", "3 hours ago")
        stack.dagster_dev()
        yield stack
