"""For all tests."""

from __future__ import annotations

import signal

from hypothesis import settings

# Under `nohup`, or in the background of a script, both are ignored, and servers that tests stop with them
# would ignore them, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What one example takes says nothing on a machine that others use, too.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
