"""Which SQLMesh project the events are about: its name, and a hash that identifies its state database.

One server may hold several projects. Environments of two projects often have the same name, so every event
says which project it belongs to; the state's hash reveals two projects that share a name by accident.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ._guard import log, safely

# What locates a database in SQLMesh's connection settings. Users, passwords and tokens are left out on purpose:
# the same state stays the same state when they change, and no secret leaves the process, not even hashed.
_LOCATION_FIELDS = (
    "type_",
    "host",
    "port",
    "server",
    "server_hostname",
    "account",
    "instance_connection_string",
    "project",
    "database",
    "catalogs",
    "catalog",
)
_IN_MEMORY = {"type_": "duckdb"}


def project_fields(configs: Mapping[Any, Any], gateway: str | None) -> dict[str, Any]:
    """The fields `project`, `project_is_named` and, where it is known, `state`, for every event.

    `configs` are SQLMesh's, by folder; the first one decides, as in SQLMesh. `gateway`: as requested, or None.
    """
    config = next(iter(configs.values()))
    fields = _named_by_user() or {
        "project": _derived_name((config.project for config in configs.values()), gateway, config.default_gateway_name),
        "project_is_named": False,
    }
    state = safely(_state_hash, config, gateway)
    return {**fields, "state": state} if state else fields


def project_fields_of_files(folders: Iterable[str], gateway: str | None) -> dict[str, Any] | None:
    """The same where SQLMesh can't load the configuration, from its text; None if that does not reveal the name.

    A wrong name would add a project to the server, so this does not guess.
    """
    named = _named_by_user()
    if named is not None:
        return named
    texts = [text for folder in folders for text in [_config_text(Path(folder))] if text is not None]
    if not texts:
        log.warning("a failed start is not recorded: there is no config.yaml, set TOBIKO_PROJECT_NAME")
        return None
    names = [match[1] for text in texts for match in [re.search(r"(?m)^project:\s*[\"']?([^\s\"'#]+)", text)] if match]
    default = re.search(r"(?m)^default_gateway:\s*[\"']?([^\s\"'#]+)", texts[0]) or re.search(
        r"(?m)^gateways:\s*\n\s+[\"']?([^\s\"':]+)", texts[0]
    )
    return {"project": _derived_name(names, gateway, default[1] if default else ""), "project_is_named": False}


def _named_by_user() -> dict[str, Any] | None:
    name = os.environ.get("TOBIKO_PROJECT_NAME", "").strip()
    return {"project": name, "project_is_named": True} if name else None


def _derived_name(names: Iterable[str], gateway: str | None, default_gateway: str) -> str:
    name = "+".join(sorted({name for name in names if name}))
    is_default = gateway is None or gateway.lower() == default_gateway.lower()
    return name if is_default else f"{name}:{gateway}"


def _state_hash(config: Any, gateway: str | None) -> str | None:
    """None for a state in memory: it has no identity."""
    connection = config.get_state_connection(gateway) or config.get_connection(gateway)
    location = {
        name: _location(value) for name in _LOCATION_FIELDS for value in [getattr(connection, name, None)] if value
    }
    if location in (_IN_MEMORY, {**_IN_MEMORY, "database": ":memory:"}):
        return None
    location["schema"] = config.get_state_schema(gateway)
    return hashlib.sha256(json.dumps(location, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _location(value: Any) -> Any:
    """Files by their real path, and without the parameters of a URL: they may hold a token."""
    if isinstance(value, Mapping):
        return {name: _location(getattr(catalog, "path", catalog)) for name, catalog in value.items()}
    if not isinstance(value, str):
        return str(value)
    text = value.split("?")[0]
    is_file = "/" in text or os.sep in text or text.endswith((".db", ".duckdb", ".ddb"))
    return os.path.realpath(text) if is_file and ":" not in text[2:] else text


def _config_text(folder: Path) -> str | None:
    for name in ("config.yaml", "config.yml", "sqlmesh.yaml", "sqlmesh.yml"):
        try:
            return (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return None
