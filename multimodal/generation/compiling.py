"""Models compiled for a CPU: whether this machine can, and where what comes of it is kept."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import sysconfig
from pathlib import Path

logger = logging.getLogger(__name__)


def prepare(home: Path) -> bool:
    """Whether a model can be compiled here; then vLLM and PyTorch keep what comes of it in `home`."""
    if missing := missing_tools():
        logger.warning(
            "The generator is not compiled, which costs a quarter of its tokens/s: %s.", " and ".join(missing)
        )
        return False
    folder = home / "compiled" / processor()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ.setdefault("VLLM_CACHE_ROOT", str(folder))
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
    return True


def missing_tools() -> list[str]:
    """What PyTorch needs to compile, and what to install where it is missing."""
    missing = []
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        missing.append("there is no C++ compiler (install g++)")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.append("Python's headers are missing (install python3.11-dev)")
    return missing


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Names what the processor can do: what was compiled for one may not run on another."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return hashlib.sha256(flags.encode()).hexdigest()[:12]
