"""Texts and media as vectors of one space, and pictures told apart with words.

The space is that of TextEncoder's sentences. Pictures lie in it where ImageEncoder's tower was trained for it
(`ImageArgs.space`), videos where their scenes lie, recordings where what is said in them lies, and documents
where their text lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from multimodal.concurrency import together
from multimodal.config import AppArgs
from multimodal.deadlines import within
from multimodal.encoders.concepts import softmax
from multimodal.errors import InvalidMedia, InvalidRequest, MultimodalError
from multimodal.stages import Stages
from multimodal.types import (
    Classification,
    ClassifyRequest,
    DocumentFeatures,
    Embeddings,
    Emit,
    ImageFeatures,
    LabelScore,
    MediaKind,
    MediaSource,
    RequestContext,
    TextEmbeddings,
    Transcript,
    VideoFeatures,
)
from multimodal.understanding import Features, Medium

Vector = NDArray[np.float32]
"""(dimensions,), unit length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """What became of some inputs."""

    vectors: NDArray[np.float32]
    """(n, dimensions), each row of unit length."""
    tokens: int = 0
    logit_scale: float = 1.0
    """Of pictures and videos: see `ImageFeatures`."""


SEEN = (MediaKind.IMAGE, MediaKind.VIDEO)
"""Media whose vectors are those of ImageEncoder's tower; those of the others are TextEncoder's."""


class Embedder:
    """Gives texts and media their vectors, with the stages of the graph."""

    def __init__(self, stages: Stages, args: AppArgs) -> None:
        self._stages = stages
        self._args = args

    async def embed(self, ctx: RequestContext, inputs: Sequence[str | MediaSource], emit: Emit) -> Embeddings:
        """One unit vector for each input, in order; all are worked on at the same time.

        Raises InvalidRequest for a text that is too long, a recording in which nobody speaks, a document
        without text, and pictures and videos where the server cannot compare them with texts; what the stages
        raise; DeadlineExceeded.
        The first failure ends the rest. Errors name the input: "input.3".
        """
        media = {at: one for at, one in enumerate(inputs) if isinstance(one, MediaSource)}
        texts = {at: one for at, one in enumerate(inputs) if isinstance(one, str)}
        sources = list(media.values())
        self._check_space(sources)
        work = [self.medium(ctx, source, emit) for source in sources]
        if texts:
            work.append(self._texts(ctx, list(texts.values()), [f"input.{at}" for at in texts]))
        found = await together(work)
        _check_dimensions(found, sources)
        order = np.argsort([*media, *texts])
        vectors = np.concatenate([one.vectors for one in found])[order]
        return Embeddings(vectors=vectors, tokens=sum(one.tokens for one in found))

    async def classify(self, ctx: RequestContext, request: ClassifyRequest, emit: Emit) -> Classification:
        """How well each label fits the picture or the video, the best first: zero-shot, as CLIP does it.

        Scores are softmax(logit_scale * cosine). Raises what `embed` raises; errors name the medium by its
        own param, and labels as "labels.3".
        """
        source = request.source
        if not isinstance(source, MediaSource):
            raise TypeError("the file is to be found first")
        self._check_space([source])
        sentences = [request.template.replace("{}", label) for label in request.labels]
        places = [f"labels.{at}" for at in range(len(sentences))]
        found = await together([self.medium(ctx, source, emit), self._texts(ctx, sentences, places)])
        _check_dimensions(found, [source])
        medium, labels = found
        similarities = labels.vectors.astype(np.float64) @ medium.vectors[0]
        scores = softmax(medium.logit_scale * similarities)
        results = [
            LabelScore(label=label, score=float(score), similarity=float(similarity))
            for label, score, similarity in zip(request.labels, scores, similarities, strict=True)
        ]
        results.sort(key=lambda one: one.score, reverse=True)
        return Classification(results=tuple(results), tokens=labels.tokens)

    async def medium(self, ctx: RequestContext, source: MediaSource, emit: Emit) -> Encoded:
        """The vector of one medium, in the space of its kind: one row. Raises what `embed` raises; errors
        name the medium."""
        features = await Medium(self._stages, self._args, ctx, source, emit).features()
        return await self.vector_of(ctx, features, source.param)

    async def vector_of(self, ctx: RequestContext, features: Features, param: str) -> Encoded:
        """The vector of a medium that has been encoded: one row. Raises what `medium` raises."""
        if isinstance(features, Transcript):
            return await self._speech(ctx, features, param)
        if isinstance(features, DocumentFeatures):
            return await self._document(ctx, features, param)
        if isinstance(features, VideoFeatures):
            return _video(features, param)
        return _picture(features, param)

    async def long_text(self, ctx: RequestContext, sentences: Sequence[str], param: str) -> Encoded:
        """The vector of a text of any length, in one row: the mean of its pieces, by their tokens, where the
        model cannot read it at once. It is cut between sentences where there are several.

        Raises what the stages raise, with `param`, and DeadlineExceeded.
        """
        try:
            pieces = await self._pieces(ctx, sentences)
        except MultimodalError as error:
            error.param = param  # TextEncoder names a text that the client has not sent
            raise
        tokens = [piece.tokens for piece in pieces]
        vectors = np.concatenate([piece.vectors for piece in pieces])
        vector = vectors[0] if len(vectors) == 1 else mean_direction(vectors, tokens)
        return Encoded(vectors=vector[None], tokens=sum(tokens))

    def _check_space(self, sources: Iterable[MediaSource]) -> None:
        """Raises InvalidRequest before anything is decoded."""
        seen = next((source for source in sources if source.kind in SEEN), None)
        if seen is not None and self._args.image.space == "own":
            raise apart(seen.param)

    async def _texts(self, ctx: RequestContext, texts: Sequence[str], places: Sequence[str]) -> Encoded:
        try:
            found = await within(ctx, self._stages.embed_text(ctx, texts))
        except InvalidRequest as error:
            error.param = _place(error.param, places)
            raise
        return Encoded(vectors=found.vectors, tokens=found.tokens)

    async def _speech(self, ctx: RequestContext, transcript: Transcript, param: str) -> Encoded:
        sentences = [text for segment in transcript.segments if (text := segment.text.strip())]
        if not sentences:
            raise InvalidRequest(
                "Nobody speaks in this recording, so it has no vector. Send one with speech.", param=param
            )
        return await self.long_text(ctx, sentences, param)

    async def _document(self, ctx: RequestContext, document: DocumentFeatures, param: str) -> Encoded:
        chunks = [text for page in document.pages for chunk in page.chunks if (text := chunk.text.strip())]
        if not chunks:
            raise InvalidRequest(
                "There is no text in this document, so it has no vector. Send one with text.", param=param
            )
        return await self.long_text(ctx, chunks, param)

    async def _pieces(self, ctx: RequestContext, sentences: Sequence[str]) -> list[TextEmbeddings]:
        """The text in one piece where the model reads it all, else in halves, and so on. Each is one row."""
        text = " ".join(sentences)
        # Every word is a token at least. Only TextEncoder knows how many there are: it refuses a longer text.
        if len(text.split()) <= self._args.text.max_tokens:
            try:
                return [await within(ctx, self._stages.embed_text(ctx, [text]))]
            except InvalidRequest:
                if len(text) == 1:
                    raise
        first, second = await together(self._pieces(ctx, half) for half in _halves(sentences))
        return [*first, *second]


def _halves(sentences: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Whole sentences; a single one is cut between two words, and one without spaces in its middle."""
    if len(sentences) > 1:
        middle = len(sentences) // 2
        return sentences[:middle], sentences[middle:]
    (text,) = sentences
    words = text.split()
    if len(words) > 1:
        middle = len(words) // 2
        return [" ".join(words[:middle])], [" ".join(words[middle:])]
    middle = len(text) // 2
    return [text[:middle]], [text[middle:]]


def _picture(image: ImageFeatures, param: str) -> Encoded:
    """Raises InvalidRequest where the server has no image tower."""
    if image.vector is None or image.logit_scale is None:
        raise InvalidRequest(
            "This server has no image tower, so it has no vectors of pictures and videos. Its operator must "
            "configure one (image.model).",
            param=param,
        )
    return Encoded(vectors=image.vector[None], logit_scale=image.logit_scale)


def _video(video: VideoFeatures, param: str) -> Encoded:
    """Each scene counts as often as frames of it were sampled."""
    if not video.scenes:
        raise InvalidMedia("No frame of this video could be looked at. Send another one.", param=param)
    scenes = [_picture(scene.image, param) for scene in video.scenes]
    vectors = np.concatenate([scene.vectors for scene in scenes])
    vector = mean_direction(vectors, [len(scene.times_s) for scene in video.scenes])
    return Encoded(vectors=vector[None], logit_scale=scenes[0].logit_scale)


def mean_direction(vectors: NDArray[np.float32], weights: Sequence[float]) -> Vector:
    """(dimensions,), unit length: where the weighted mean of the rows (n, dimensions) points to.

    Zeros where they cancel each other out exactly.
    """
    total = np.asarray(weights, np.float64) @ vectors
    unit: Vector = (total / (np.linalg.norm(total) or 1.0)).astype(np.float32)
    return unit


def _place(param: str | None, places: Sequence[str]) -> str | None:
    """TextEncoder counts the texts that it was sent ("input.1"): where that one stands in the request."""
    index = (param or "").rpartition(".")[2]
    return places[int(index)] if index.isdecimal() and int(index) < len(places) else param


def _check_dimensions(found: Iterable[Encoded], sources: Iterable[MediaSource]) -> None:
    """Raises InvalidRequest where a tower is configured as one of the unified space and cannot be."""
    if len({one.vectors.shape[1] for one in found}) > 1:
        raise apart(next(source.param for source in sources if source.kind in SEEN))


def apart(param: str) -> InvalidRequest:
    """The error for what cannot be compared."""
    return InvalidRequest(
        "On this server pictures and texts have vectors of different spaces, which cannot be compared. Its "
        "operator must configure an image tower trained into the space of the text model (image.model, "
        "image.space).",
        param=param,
    )
