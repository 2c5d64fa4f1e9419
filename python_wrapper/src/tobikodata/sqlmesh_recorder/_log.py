"""The recorder's logger: what it says is heard where the user's own logging listens to it."""

from __future__ import annotations

import logging

log = logging.getLogger("tobikodata.sqlmesh_recorder")
log.addHandler(logging.NullHandler())


def level_of_trouble(is_news: bool) -> int:
    """Trouble that goes on is a warning once."""
    return logging.WARNING if is_news else logging.DEBUG
