"""The recorder's settings: environment variables, read once, when the first run or plan starts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ._guard import log


@dataclass(frozen=True)
class Settings:
    base_url: str
    client_id: str
    client_secret: str = field(repr=False)
    token_url: str
    ca_file: str | None
    spool: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings | None:
        """The settings, or None without TCLOUD_BASE_URL."""
        base_url = environment.get("TCLOUD_BASE_URL", "").strip().rstrip("/")
        if not base_url:
            return None
        client_id = environment.get("TCLOUD_CLIENT_ID", "")
        client_secret = environment.get("TCLOUD_CLIENT_SECRET", "")
        if client_secret and not client_id:
            log.warning("TCLOUD_CLIENT_SECRET is set without TCLOUD_CLIENT_ID: continuing without a login")
            client_secret = ""
        # Only a local cloud accepts events, and its token endpoint is below its own base URL.
        token_url = environment.get("TCLOUD_TOKEN_URL") or f"{base_url}/auth/token"
        spool = environment.get("TOBIKO_RECORDER_SPOOL") or _default_spool(base_url, environment)
        ca_file = environment.get("TCLOUD_CA_FILE") or None
        return cls(base_url, client_id, client_secret, token_url, ca_file, Path(spool))


def _default_spool(base_url: str, environment: Mapping[str, str]) -> Path:
    """A file in the user's cache folder, one for each server: none receives the events of another."""
    if sys.platform == "win32":
        cache = Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    server = hashlib.sha256(base_url.encode()).hexdigest()[:8]
    return cache / "tobiko-facade" / f"tobiko_recorder_spool.{server}.jsonl"
