"""Recordings as embeddings for Qwen2.5-Omni, for which vLLM 0.32 has no such input. (It has one for pictures
and videos, which ends the engine: see `OmniThinker._by_item`.)

    tower (ours) --rows--> {"audio": {"audio_embeds": [...]}} --> OmniThinker: vLLM's model, three overrides

Why not vLLM's encoder transfer (`ec_transfer_config` with a connector of ours, the generator a consumer), for
this or for any family? Tried on CPU with vLLM's ECExampleConnector: it works without a tower, requests carry
only grids and our keys (`multi_modal_uuids`), answers are exact, Omni's audio included. But

- an item that the connector does not have (any more) fails an assertion in the worker, which ends the engine.
  Files or shared memory must outlive preemption and eviction from the encoder cache; rows that travel with
  their request live exactly as long as it does;
- LLaVA and LLaVA-OneVision, the embedded profile's own family among them, have no metadata-only input there;
- a connector has a half in the scheduler and one in each worker: more of our code than these overrides;
- it saves one copy, from front end to engine, of what that engine has not seen: with uuids and the `lru`
  cache of processed items a known item already crosses as its key alone.

It is the way for an engine on another machine than its front end; the keys fit it as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

AUDIO_ROWS = "audio_embeds"
"""Our name, formed as vLLM forms its own, for the rows of recordings."""
FRAMES_PER_ROW = 4
"""Mel frames (10 ms each) to a row: a convolution and a pooling, of stride two each."""
ARCHITECTURES = ("Qwen2_5OmniModel", "Qwen2_5OmniForConditionalGeneration")
"""What checkpoints of Qwen2.5-Omni say they are."""


def register() -> None:
    """Put our model in the place of vLLM's. vLLM calls it in each process of its own, through the entry point
    group `vllm.general_plugins`; the model is imported only where one of these checkpoints is loaded."""
    from vllm import ModelRegistry

    for architecture in ARCHITECTURES:
        ModelRegistry.register_model(architecture, "multimodal.generation.omni_thinker:OmniThinker")


def audio_items(recordings: Sequence[NDArray[np.float32]]) -> dict[str, list[torch.Tensor]]:
    """`multi_modal_data["audio"]` of a prompt, from the rows (n, width) of each recording, in order."""
    import torch

    # A copy: arrays from the object store are read-only, and tensors cannot be.
    return {AUDIO_ROWS: [torch.from_numpy(np.array(rows, dtype=np.float32)) for rows in recordings]}
