"""Lets a CUDA build of torchvision import beside a CPU build of torch.

The package index serves torchvision only as a CUDA build. Beside a CPU torch its operator library does not
load, and its import then fails because it registers fake kernels for two operators that nobody declared.
Declaring their schemas is enough: nothing here calls them. PyTorch runs `declare` in every process at
`import torch`, through the entry point group `torch.backends` (engine processes of vLLM included).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""From torchvision's own C++ registration (ops/nms.cpp, ops/quantized)."""


def declare() -> None:
    """Declare the schemas, where torchvision is installed and its own operators cannot load."""
    import torch

    if torch.version.cuda is not None or not _is_cuda_build("torchvision"):
        return
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    _kept.append(library)


def _is_cuda_build(package: str) -> bool:
    """Whether an installed package is a CUDA build, read from its version file without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return False
    version_file = Path(found.origin).with_name("version.py")
    return version_file.is_file() and "+cu" in version_file.read_text(encoding="utf-8")


_kept: list[object] = []
"""A Library undeclares its operators when it is collected."""
