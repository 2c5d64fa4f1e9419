"""What holds for all tests: they find the support modules, and a Ctrl-C reaches what they start."""

from __future__ import annotations

import signal

# Started in the background of a script, a process inherits that SIGINT is ignored, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
