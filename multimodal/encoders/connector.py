"""VisionTower's backend: what the image tower saw, as rows that the generator reads in the place of words.

A frozen language model reads rows well that lie near its word embeddings. So the connector names what a
picture shows, with the doubt there is about it, and looks the words up in the generator's own embedding
table. The pixels are not needed: all of it comes from the vector that ImageEncoder computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from multimodal.encoders.concepts import Candidate, ConceptBank
from multimodal.errors import ConfigError
from multimodal.stages import Seen
from multimodal.types import GeneratorEmbedding, ImageFeatures, Scene, VideoFeatures

if TYPE_CHECKING:
    from numpy.typing import NDArray

SURE_FROM = 0.5
"""A name that is likelier than this stands alone."""
WORTH_SAYING = 0.3
"""Of the first name's probability: other names below it are not told."""
MOST_NAMES = 3

TABLE = "embed_tokens.weight"


class WordEmbeddings(Protocol):
    """A generator's embedding table."""

    def rows(self, text: str) -> NDArray[np.float32]:
        """(tokens, hidden_size) of a text."""
        ...


class ConceptConnector:
    """Pictures and videos to generator embeddings."""

    def __init__(self, bank: ConceptBank, words: WordEmbeddings) -> None:
        self._bank, self._words = bank, words

    def see(self, batch: Sequence[tuple[Seen, Sequence[float]]]) -> list[GeneratorEmbedding]:
        """Rows for each picture and video, in order. Raises what `connect` raises."""
        return [self._connect(seen, moments_s) for seen, moments_s in batch]

    def _connect(self, seen: Seen, moments_s: Sequence[float]) -> GeneratorEmbedding:
        if not isinstance(seen, ImageFeatures | VideoFeatures):
            raise ConfigError("A connector needs what an image tower saw. Set vision.source to connector.")
        return self.connect(seen, moments_s)

    def connect(
        self, features: ImageFeatures | VideoFeatures, moments_s: Sequence[float]
    ) -> GeneratorEmbedding:
        """Rows for one picture, or for a video: for the moments that are asked about, else for all scenes.

        Raises ConfigError for features without a vector: there is no image tower.
        """
        if isinstance(features, ImageFeatures):
            said = picture_line(self._recognise(features))
        else:
            said = self._video(features, moments_s)
        return GeneratorEmbedding(rows=self._words.rows(said))

    def _video(self, features: VideoFeatures, moments_s: Sequence[float]) -> str:
        if not moments_s:
            return video_line([self._recognise(scene.image) for scene in features.scenes])
        return " ".join(self._moment(features, moment_s) for moment_s in moments_s)

    def _moment(self, features: VideoFeatures, moment_s: float) -> str:
        if moment_s > features.duration_s:
            return f"At {moment_s:g} seconds, the video is over."
        return moment_line(moment_s, self._recognise(scene_at(features.scenes, moment_s).image))

    def _recognise(self, features: ImageFeatures) -> list[Candidate]:
        if features.vector is None or features.logit_scale is None:
            raise ConfigError("VisionTower needs the vectors of an image tower: set image.model.")
        return self._bank.recognise(features.vector, features.logit_scale, MOST_NAMES)


def picture_line(candidates: Sequence[Candidate]) -> str:
    """What a picture shows, as the generator is told of it."""
    return f"The picture shows {_names(candidates)}." if candidates else "The picture is not recognised."


def video_line(scenes: Sequence[Sequence[Candidate]]) -> str:
    """What a video shows, scene after scene. Those that are not recognised, or not new, are not told."""
    names = [_names(candidates) for candidates in scenes if candidates]
    changes = [name for name, before in zip(names, ["", *names], strict=False) if name != before]
    return f"The video shows {', then '.join(changes)}." if changes else "The video is not recognised."


def moment_line(moment_s: float, candidates: Sequence[Candidate]) -> str:
    """What a video shows at one moment."""
    shown = f"the video shows {_names(candidates)}" if candidates else "the picture is not recognised"
    return f"At {moment_s:g} seconds, {shown}."


def scene_at(scenes: Sequence[Scene], moment_s: float) -> Scene:
    """The scene that is on at a moment, or was last; the first, before any."""
    begun = [scene for scene in scenes if scene.start_s <= moment_s]
    return begun[-1] if begun else scenes[0]


def _names(candidates: Sequence[Candidate]) -> str:
    """The first alone, or with others where it may as well be one of those."""
    first, *others = candidates
    if first.probability >= SURE_FROM:
        return first.name
    told = [one.name for one in others if one.probability >= WORTH_SAYING * first.probability]
    return " or ".join([first.name, *told])


class SafetensorsWords:
    """The embedding table of a generator's model folder. Rows are read from the file: few are ever needed."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError where the folder has no tokenizer, or no embedding table."""
        from safetensors import safe_open
        from tokenizers import Tokenizer

        self._weights, tokenizer = folder / "model.safetensors", folder / "tokenizer.json"
        if not self._weights.is_file() or not tokenizer.is_file():
            raise ConfigError("The generator's model folder has no model.safetensors and tokenizer.json.")
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        with safe_open(self._weights, framework="pt") as file:
            names = [name for name in file.keys() if name.endswith(TABLE)]  # noqa: SIM118 - it is no mapping
        if len(names) != 1:
            raise ConfigError(f"The generator's weights have no {TABLE} of their own.")
        self._table: str = names[0]

    def rows(self, text: str) -> NDArray[np.float32]:
        """(tokens, hidden_size) float32."""
        from safetensors import safe_open

        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        with safe_open(self._weights, framework="pt") as file:
            table = file.get_slice(self._table)
            return np.concatenate([table[one : one + 1].float().numpy() for one in ids])
