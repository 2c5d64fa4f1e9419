"""Records what SQLMesh does in this process and tells it to a local cloud (`tobiko-facade serve`).

    python -m tobikodata.sqlmesh_recorder run       # is `sqlmesh run`, recorded
    tobikodata.sqlmesh_recorder.install()           # the same for those who call SQLMesh from Python

It needs the standard library only, so that it fits into any SQLMesh environment. It wraps a few of SQLMesh's
own methods by name, notes what passes through them and changes nothing: results, exceptions and order stay as
they are, whatever breaks in here. A background thread sends the events; what can't be sent waits in a spool
file. Events go one way: _seams -> _recording -> _delivery -> _server, or _spool while the server is away.

Settings, all from the environment: TCLOUD_BASE_URL (without it nothing is recorded), TCLOUD_CLIENT_ID and
TCLOUD_CLIENT_SECRET (if the server wants a login), TCLOUD_TOKEN_URL (default: {base}/auth/token),
TCLOUD_CA_FILE, TOBIKO_RECORDER_SPOOL (the spool file), TOBIKO_RECORDER=off.
"""

from __future__ import annotations

from ._command import main
from ._install import install, uninstall

__all__ = ["install", "main", "uninstall"]
