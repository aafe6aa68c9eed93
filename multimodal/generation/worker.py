"""What is loaded into vLLM's worker processes (`worker_extension_cls`): two of its declarations changed.

Both stand in the way of embeddings alone, in vLLM 0.32:

- It runs the embeddings of all requests of a step together, and its LLaVA models declare that those have one
  number of rows: two pictures of different sizes would end the engine. Nothing after that check needs it, as
  the rows of each item are placed by themselves.
- Qwen3-VL without its tower is built without DeepStack, too. The language model does its part without one,
  and rows that bring the features along would end the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

MODELS = "vllm.model_executor.models"
SCHEMAS = {
    "llava": "LlavaImageEmbeddingInputs",
    "llava_next": "LlavaNextImageEmbeddingInputs",
    "llava_onevision": "LlavaOnevisionImageEmbeddingInputs",
}
"""Modules of vLLM's models, and what they declare for embeddings."""
ROWS = "ifs"
"""vLLM's name for the number of rows: image feature size."""


class WorkerExtension:
    """Becomes a base of vLLM's worker. It adds nothing: that this module is imported there is what counts."""


class _NeverMissing:
    """No part of a model is one of these."""


def allow_any_rows() -> None:
    """Items of one step may differ in their number of rows."""
    import torch
    from vllm.utils.tensor_schema import TensorShape

    for module, name in SCHEMAS.items():
        schema = getattr(import_module(f"{MODELS}.{module}"), name)
        shape = TensorShape("bn", ROWS, "hs", dynamic_dims={ROWS})
        schema.__annotations__["data"] = Annotated[torch.Tensor | list[torch.Tensor], shape]


def keep_deepstack() -> None:
    """Qwen3-VL asks only once whether its tower is missing: whether to leave DeepStack out."""
    module = import_module(f"{MODELS}.qwen3_vl")
    module.StageMissingLayer = _NeverMissing  # type: ignore[attr-defined]


allow_any_rows()
keep_deepstack()
