"""The recorder's settings while a test goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def set_only_settings(patch: pytest.MonkeyPatch, spool: Path) -> None:
    """The spool's, and none that the developer's own environment may hold."""
    for name in [name for name in os.environ if name.startswith(("TCLOUD_", "TOBIKO_RECORDER"))]:
        patch.delenv(name)
    patch.setenv("TOBIKO_RECORDER_SPOOL", str(spool))
    patch.setenv("NO_PROXY", "*")
