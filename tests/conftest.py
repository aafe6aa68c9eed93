"""For all tests."""

from __future__ import annotations

import signal

# Under `nohup`, or in the background of a script, both are ignored, and servers that tests stop with them
# would ignore them, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
