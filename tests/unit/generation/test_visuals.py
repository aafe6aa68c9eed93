from __future__ import annotations

import numpy as np

from multimodal.generation.visuals import items, size
from multimodal.types import GeneratorEmbedding


def test_embeddings_of_any_length_are_items_of_one_shape() -> None:
    for count in (1, 7, 14):
        rows = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
        rows.flags.writeable = False  # as from the object store
        made = items(GeneratorEmbedding(rows=rows))
        assert [np.asarray(item).shape for item in made] == [(1, 3)] * count
        assert np.array_equal(np.concatenate([np.asarray(item) for item in made]), rows)
        assert (size(GeneratorEmbedding(rows=rows)).items, size(GeneratorEmbedding(rows=rows)).tokens) == (
            count,
            count,
        )
