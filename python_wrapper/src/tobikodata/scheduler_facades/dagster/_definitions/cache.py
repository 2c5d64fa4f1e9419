"""The last good manifest on disk: what a code location loads from while the cloud is away.

One file for each base URL, environment and prefix; mode 0600; replaced in one step, so that a reader never
sees half of it. Trouble with the file is never worse than having none.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

logger = logging.getLogger(__name__)


def folder() -> Path:
    """TOBIKO_FACADE_CACHE_DIR, else Dagster's home, else the user's cache folder."""
    given = os.environ.get("TOBIKO_FACADE_CACHE_DIR")
    if given:
        return Path(given).expanduser()
    dagster_home = os.environ.get("DAGSTER_HOME")
    if dagster_home:
        return Path(dagster_home).expanduser() / "tobiko-facade"
    return _user_cache_folder() / "tobiko-facade"


def path_of(base_url: str, environment: str, asset_prefix: str | None) -> Path:
    # The prefix too: it is part of all names in the manifest.
    key = "\n".join((base_url.rstrip("/"), environment, asset_prefix or ""))
    return folder() / f"manifest-{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"


def keep(path: Path, manifest: str) -> None:
    """Writes it, or says why it could not be written."""
    record = json.dumps({"saved_at": datetime.now(timezone.utc).isoformat(), "manifest": json.loads(manifest)})
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # made with mode 0600
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(record)
        os.replace(temporary, path)
    except OSError as error:
        logger.warning("the manifest could not be kept in %s: %s", path, error)
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def kept(path: Path) -> tuple[str, str] | None:
    """The manifest and when it was kept; None if there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return json.dumps(record["manifest"]), str(record["saved_at"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("the kept manifest %s cannot be used: %s", path, error)
        return None


def _user_cache_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
