"""Turns the recorder on and off in this process."""

from __future__ import annotations

import os

from ._guard import forget_what_broke, safely
from ._process import process
from ._seams import SEAMS
from ._wrapping import unwrap_all, wrap


def install() -> None:
    """Wraps SQLMesh's methods in this process. Doing it twice is doing it once."""
    if os.environ.get("TOBIKO_RECORDER", "").strip().lower() in ("off", "0", "false", "no"):
        return
    for seam in SEAMS:
        safely(wrap, seam)


def uninstall() -> None:
    """Puts SQLMesh's own methods back and ends the delivery; for tests."""
    unwrap_all()
    if process.delivery is not None:
        process.delivery.close()
    process.reset()
    forget_what_broke()
