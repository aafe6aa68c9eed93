"""TextEncoder's backend: sentence vectors from a text tower of open_clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.config import TextArgs
from multimodal.encoders.text_tower import load_tower
from multimodal.errors import ConfigError, InvalidRequest
from multimodal.types import TextEmbeddings

if TYPE_CHECKING:
    import torch

CHARACTERS_PER_TOKEN = 100
"""A text with more characters than this for each allowed token is refused without being counted: WordPiece
reads no longer word, and tokenising megabytes only to refuse them would hold up everybody else."""


class OpenClipTextEncoder:
    """Sentence vectors of a model folder.

    On a CPU a BERT, such as MiniLM, runs without padding and in bfloat16 (`packed_bert`):
    benchmarks/text_encoder.py measures how much faster that is, and the cosine with exact vectors. The last
    digits of a vector then depend on the texts that it is encoded with. With `exact` the tower runs as it is.

    Raises ConfigError where the folder is not a text model, or where it takes fewer tokens than allowed.
    """

    def __init__(self, folder: Path, args: TextArgs, *, exact: bool = False) -> None:
        from multimodal.encoders.packed_bert import packed

        tower, self._tokens = load_tower(folder)
        if args.max_tokens > self._tokens.limit:
            raise ConfigError(
                f"text.max_tokens is {args.max_tokens}, but the model takes {self._tokens.limit}: lower it."
            )
        tower.eval()
        self._tower = packed(tower) if args.device == "cpu" and not exact else tower.to(args.device)
        self._device = args.device
        self._max_tokens = args.max_tokens

    def count_tokens(self, text: str) -> int:
        """Tokens of the text, special tokens included. Raises InvalidRequest where it has none or is far too
        long."""
        if len(text) > CHARACTERS_PER_TOKEN * self._max_tokens:
            raise InvalidRequest(
                f"A text has {len(text)} characters, but the model reads {self._max_tokens} tokens. "
                "Split it into shorter texts."
            )
        count = self._tokens.count(text)
        if count == 0:
            raise InvalidRequest("A text has nothing that the model can read.")
        return count

    def encode(self, texts: Sequence[str]) -> list[TextEmbeddings]:
        """Unit vectors, one (1, embed_dim) float32 for each text, in order, by one forward pass.

        Raises InvalidRequest for a text that is too long: it is never silently cut.
        """
        if not texts:
            return []
        counts = [self._checked_count(text) for text in texts]
        vectors = self._vectors(texts).cpu().numpy()
        return [TextEmbeddings(vectors=vectors[i : i + 1], tokens=count) for i, count in enumerate(counts)]

    def _checked_count(self, text: str) -> int:
        count = self.count_tokens(text)
        if count > self._max_tokens:
            raise InvalidRequest(
                f"A text has {count} tokens, but the model reads {self._max_tokens}. "
                "Split it into shorter texts."
            )
        return count

    def _vectors(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, embed_dim) float32 on the device."""
        import torch

        with torch.inference_mode():
            output = self._tower(self._tokens.ids(texts).to(self._device))
            # CoCa's towers also return their tokens.
            vectors = cast("torch.Tensor", output[0] if isinstance(output, tuple) else output)
            return torch.nn.functional.normalize(vectors.float(), dim=-1)
