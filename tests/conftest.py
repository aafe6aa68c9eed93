"""For all tests."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Under `nohup`, or in the background of a script, both are ignored, and servers that tests stop with them
# would ignore them, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What one example takes says nothing on a machine that others use, too.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _library_of_its_own() -> Iterator[None]:
    """No test reads or writes the library of whoever runs it."""
    with tempfile.TemporaryDirectory(prefix="mm-state-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "MULTIMODAL_STATE", folder)
        yield
