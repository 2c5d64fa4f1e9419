"""Records what SQLMesh does in this process and reports it to a local cloud (`tobiko-facade serve`).

    python -m tobikodata.sqlmesh_recorder run       # `sqlmesh run`, recorded
    tobikodata.sqlmesh_recorder.install()           # for code that calls SQLMesh from Python

It needs only the standard library, so that it fits into any SQLMesh environment. It wraps a few of SQLMesh's
own methods by name, observes their calls and changes nothing: results, exceptions and order stay as they
are, even if the recorder itself fails. A background thread sends the events; those that can't be sent wait
in a spool file. Events flow one way: _hooks -> _recording -> _delivery -> _server (or _spool during an outage).

All settings are environment variables: TCLOUD_BASE_URL (nothing is recorded without it), TCLOUD_CLIENT_ID and
TCLOUD_CLIENT_SECRET (if the server requires a login), TCLOUD_TOKEN_URL (default: {base}/auth/token),
TCLOUD_CA_FILE, TOBIKO_PROJECT_NAME (where several projects share one server; default: SQLMesh's `project` setting),
TOBIKO_RECORDER_SPOOL (the spool file), TOBIKO_RECORDER=off.
"""

from __future__ import annotations

from ._command import main
from ._hooks import install, uninstall

__all__ = ["install", "main", "uninstall"]
