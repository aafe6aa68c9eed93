"""A folder from which `multimodal serve` starts a stand-in instead of Ray."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.unit.serving import fake_serve_run

CONFIG = """
http_options: {host: 127.0.0.1, port: 8000}
applications:
  - name: default
    import_path: somebody.elses:app
"""


class FakeWorkspace:
    """Becomes effective where it is the current folder: `python -m` looks there first."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "serve_config.yaml"
        self.config.write_text(CONFIG)
        self.home = folder / "home"
        self._pids = folder / "pids"
        self._pids.touch()
        package = folder / "deployments"
        package.mkdir()
        (package / "__init__.py").touch()
        shutil.copy(fake_serve_run.__file__, package / "serve_run.py")
        self.env = {"FAKE_PIDS": str(self._pids), "MULTIMODAL_HOME": str(self.home)}

    def daemons(self) -> list[int]:
        """Process ids of every daemon that the stand-in left behind."""
        return [int(line) for line in self._pids.read_text().split()]
