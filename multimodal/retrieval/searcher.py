"""Search: parts of a query become vectors and words, the index finds segments, and the files are joined."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from multimodal.concurrency import together
from multimodal.config import AppArgs
from multimodal.deadlines import allowing, within
from multimodal.embedding import SEEN, Embedder
from multimodal.errors import InvalidRequest, MultimodalError, UnsupportedMedia
from multimodal.library.files import FileLibrary
from multimodal.library.records import (
    FileRecord,
    FileStatus,
    QueryItem,
    Retrieval,
    SearchAnswer,
    SearchRequest,
    SearchResult,
)
from multimodal.retrieval.mixture import Direction, spaces_of, vectors_of_file
from multimodal.retrieval.types import Hit, Search, SpaceQuery, Vector, VectorName
from multimodal.stages import Stages
from multimodal.types import (
    Emit,
    FileReference,
    ImageFeatures,
    MediaKind,
    MediaSource,
    RequestContext,
    StageEvent,
    VideoFeatures,
)
from multimodal.understanding import Features

RETRIEVE = "retrieve"
"""The stage that looks into the index, as events and metrics name it."""

ROUNDS = 2
"""Looks into the index for one search: the second one leaves out files that turned out to be deleted."""

ASKED_CHARACTERS = 4_000
"""Of the words of a chat's last message that are looked for: its end, where the question stands."""

QUESTION = "messages"
"""The part of a chat that errors about its question name."""


class Searcher:
    """Finds segments of uploaded files, with the stages of the graph."""

    def __init__(self, stages: Stages, args: AppArgs, files: FileLibrary) -> None:
        self._stages = stages
        self._args = args
        self._files = files
        self._embedder = Embedder(stages, args)

    async def search(self, ctx: RequestContext, request: SearchRequest, emit: Emit) -> SearchAnswer:
        """Find segments that lie near the query, or have its words. All parts of the query are encoded at the
        same time; uploaded files are not encoded again. `emit` is told of the stages.

        Raises FileUnknown; InvalidRequest for a file that is not processed, for weights that leave nothing to
        search with, and where `Embedder.medium` does; what the stages raise; DeadlineExceeded. Errors name
        the part of the query.
        """
        _check(request)
        ctx = allowing(
            ctx, [one.query for one in request.queries if isinstance(one.query, MediaSource)], self._args
        )
        # Where words alone decide, no part needs a vector.
        parts = request.queries if request.dense_weight else ()
        directions = await together(self._direction(ctx, part, emit) for part in parts)
        results, more = await self._timed(ctx, self._plan(ctx, request, directions), emit)
        return SearchAnswer(results=results, more=more, tokens=sum(one.tokens for one in directions))

    async def ground(
        self, ctx: RequestContext, words: str, media: Sequence[Features], retrieval: Retrieval
    ) -> tuple[SearchResult, ...]:
        """What is relevant for the answer to a question, the best first, with vectors: its words and the
        media beside it, which are encoded already, count equally. Media without a vector are left out.

        Raises what the stages raise and DeadlineExceeded.
        """
        words = words[-ASKED_CHARACTERS:]
        work = [self._beside(ctx, features) for features in media]
        if words.strip():
            work.append(self._asked(ctx, words))
        directions = [one for one in await together(work) if one is not None]
        if not directions:
            return ()
        options = self._args.search
        relevance = options.relevance if retrieval.min_similarity is None else retrieval.min_similarity
        search = Search(
            tenant=ctx.tenant,
            spaces=self._spaces(directions, 1.0, QUESTION),
            words=words,
            filter=retrieval.filter,
            limit=retrieval.top_k or options.answer_top_k,
            min_similarity=relevance,
            fold_duplicates=True,
            with_vectors=True,
        )
        results, _ = await self._existing(ctx, search)
        return results

    def _plan(self, ctx: RequestContext, request: SearchRequest, directions: Sequence[Direction]) -> Search:
        weight = request.dense_weight
        spaces = self._spaces(directions, weight, "query") if directions else ()
        own = [one.query.file_id for one in request.queries if isinstance(one.query, FileReference)]
        others = dict.fromkeys([*request.filter.not_file_ids, *own])
        return Search(
            tenant=ctx.tenant,
            spaces=spaces,
            words=lexical_words(request) if request.lexical_weight else "",
            words_weight=request.lexical_weight,
            filter=replace(request.filter, not_file_ids=tuple(others)),
            limit=request.top_k,
            offset=request.offset,
            min_similarity=request.score_threshold,
            fusion=request.fusion,
            fold_duplicates=request.dedupe,
        )

    def _spaces(self, directions: Sequence[Direction], weight: float, param: str) -> tuple[SpaceQuery, ...]:
        gain = self._args.retriever.cross_modal_gain
        return spaces_of(directions, self._args.image, weight, param, gain)

    # --- parts of a query ------------------------------------------------------------------------

    async def _direction(self, ctx: RequestContext, part: QueryItem, emit: Emit) -> Direction:
        query, param = part.query, part.param
        if isinstance(query, FileReference):
            vectors = await self._stored(ctx, query)
            return Direction(vectors=vectors, param=param, weight=part.weight)
        if isinstance(query, str):
            name, found = VectorName.WORDS, await self._embedder.long_text(ctx, [query], param)
        else:
            name = VectorName.PICTURE if query.kind in SEEN else VectorName.WORDS
            found = await self._embedder.medium(ctx, query, emit)
        return Direction(
            vectors={name: found.vectors[0]}, param=param, weight=part.weight, tokens=found.tokens
        )

    async def _stored(self, ctx: RequestContext, reference: FileReference) -> dict[VectorName, Vector]:
        """The vectors of an uploaded file, from the index."""
        try:
            record = await within(ctx, self._files.get(ctx.tenant, reference.file_id))
            kind = _searchable(record)
            segments = await within(ctx, self._stages.segments_of(ctx, record.id, True))
        except MultimodalError as error:
            error.param = reference.param
            raise
        vectors = vectors_of_file(segments, kind)
        if not vectors:
            raise InvalidRequest(
                "Nothing in this file has a vector: it has no speech, text or picture that this server can "
                "compare. Name another one.",
                param=reference.param,
            )
        return vectors

    async def _asked(self, ctx: RequestContext, words: str) -> Direction | None:
        found = await self._embedder.long_text(ctx, [words], QUESTION)
        return Direction(vectors={VectorName.WORDS: found.vectors[0]}, param=QUESTION, tokens=found.tokens)

    async def _beside(self, ctx: RequestContext, features: Features) -> Direction | None:
        """None for a medium that has no vector, such as a recording in which nobody speaks."""
        try:
            found = await self._embedder.vector_of(ctx, features, QUESTION)
        except InvalidRequest:
            return None
        seen = isinstance(features, ImageFeatures | VideoFeatures)
        name = VectorName.PICTURE if seen else VectorName.WORDS
        return Direction(vectors={name: found.vectors[0]}, param=QUESTION, tokens=found.tokens)

    # --- the index -------------------------------------------------------------------------------

    async def _timed(
        self, ctx: RequestContext, search: Search, emit: Emit
    ) -> tuple[tuple[SearchResult, ...], bool]:
        entered_s = time.perf_counter()
        emit(StageEvent(stage=RETRIEVE))
        try:
            return await self._existing(ctx, search)
        finally:
            emit(StageEvent(stage=RETRIEVE, seconds=time.perf_counter() - entered_s))

    async def _existing(self, ctx: RequestContext, search: Search) -> tuple[tuple[SearchResult, ...], bool]:
        """Hits in files that exist, and whether more follow.

        Segments of a file that was deleted a moment ago may still be in the index: then it is asked once more
        without that file, so that the answer is what it will be when they are gone.
        """
        for _ in range(ROUNDS):
            found = await within(ctx, self._stages.search(ctx, search))
            ids = dict.fromkeys(
                file_id for hit in found.hits for file_id in (hit.segment.file_id, *hit.duplicates)
            )
            files = await within(ctx, self._files.get_all(ctx.tenant, tuple(ids)))
            gone = [file_id for file_id in ids if file_id not in files]
            if not gone:
                break
            left_out = (*search.filter.not_file_ids, *gone)
            search = replace(search, filter=replace(search.filter, not_file_ids=left_out))
        results = [_joined(hit, files) for hit in found.hits if hit.segment.file_id in files]
        return tuple(results), found.more


def lexical_words(request: SearchRequest) -> str:
    """What lexical search looks for: the texts of a query that are wanted."""
    return " ".join(one.query for one in request.queries if isinstance(one.query, str) and one.weight > 0)


def _joined(hit: Hit, files: Mapping[str, FileRecord]) -> SearchResult:
    duplicates = tuple(file_id for file_id in hit.duplicates if file_id in files)
    return SearchResult(hit=replace(hit, duplicates=duplicates), file=files[hit.segment.file_id])


def _check(request: SearchRequest) -> None:
    """Raises InvalidRequest for a search that nothing can be found with."""
    if all(one.weight <= 0 for one in request.queries):
        raise InvalidRequest(
            "No part of the query has a positive weight, so nothing is looked for. Give one to at least one "
            "part.",
            param="query",
        )
    if request.dense_weight:
        return
    if not request.lexical_weight:
        raise InvalidRequest("weights.dense and weights.lexical must not both be 0.", param="weights")
    if request.score_threshold is not None:
        raise InvalidRequest(
            "With weights.dense 0 nothing is compared by similarity. Leave score_threshold out.",
            param="score_threshold",
        )
    for one in request.queries:
        if not isinstance(one.query, str) or one.weight < 0:
            raise InvalidRequest(
                "With weights.dense 0 only words are looked for. Send texts with positive weights only.",
                param=one.param,
            )


def _searchable(record: FileRecord) -> MediaKind:
    """The kind of a file that can be searched with. Raises UnsupportedMedia, InvalidRequest."""
    if record.kind is None:
        raise UnsupportedMedia(
            "This file is none that can be searched with. Name a document, a picture, a recording or a video."
        )
    if record.status is FileStatus.ERROR:
        raise InvalidRequest(
            f"Processing of this file failed ({record.error_code}), so it cannot be searched with. GET "
            "/v1/files shows why; have it processed again, or name another one."
        )
    if record.status is not FileStatus.PROCESSED:
        raise InvalidRequest(
            "This file is not processed yet. Search with it when GET /v1/files shows the status processed."
        )
    return record.kind
