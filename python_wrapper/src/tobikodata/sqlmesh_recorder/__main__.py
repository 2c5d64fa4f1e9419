"""`python -m tobikodata.sqlmesh_recorder`."""

from __future__ import annotations

import os
import sys

from tobikodata.sqlmesh_recorder import main

if __name__ == "__main__":
    # `python -m` puts the working directory first on the module path, unlike the `sqlmesh` command.
    if sys.path and sys.path[0] == os.getcwd() and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]
    sys.exit(main(sys.argv[1:]))
