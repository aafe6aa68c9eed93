"""POST /v1/search: segments of uploaded files, found with words, media or a mixture."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request, Response

from multimodal.api.body import read_body
from multimodal.api.catalogue import SEARCH
from multimodal.api.content import FileContent
from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.exchange import exchange_of
from multimodal.api.file_urls import content_url, thumbnail_url
from multimodal.api.media_parts import check_media_count, media_source
from multimodal.api.openapi import error_responses, json_body
from multimodal.api.record import Record
from multimodal.api.responses import EmbeddingsUsage
from multimodal.api.retrieval_filters import segment_filter, with_kinds
from multimodal.api.search_examples import SEARCH_EXAMPLES
from multimodal.api.search_schemas import (
    FileQuery,
    FoundSegment,
    QueryPart,
    SearchBody,
    SearchResponse,
    TextQuery,
    Weights,
)
from multimodal.api.surface import Surface
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest
from multimodal.library.records import QueryItem, SearchAnswer, SearchRequest, SearchResult
from multimodal.retrieval.searcher import lexical_words
from multimodal.retrieval.snippet import Snippets
from multimodal.retrieval.types import Fusion, SegmentFilter
from multimodal.types import FileReference, MediaSource, Usage

TOP_K = 10


def search_request(body: SearchBody, args: AppArgs, now_s: float) -> SearchRequest:
    """A checked search; named ranges of time end `now_s`, Unix seconds.

    Raises InvalidRequest for numbers over the server's limits, MediaTooLarge for too many media, and what
    `segment_filter` and `media_source` raise.
    """
    limits = args.search
    top_k = TOP_K if body.top_k is None else _at_most(body.top_k, limits.max_top_k, "top_k")
    offset = _at_most(body.offset or 0, limits.max_offset, "offset")
    where = SegmentFilter()
    if body.filters is not None:
        where = segment_filter(body.filters, now_s, "filters")
    weights = body.weights or Weights()
    return SearchRequest(
        queries=_queries(body, args),
        filter=with_kinds(where, body.search_modalities),
        top_k=top_k,
        offset=offset,
        score_threshold=body.score_threshold,
        fusion=Fusion(body.fusion or Fusion.RRF),
        dense_weight=1.0 if weights.dense is None else weights.dense,
        lexical_weight=1.0 if weights.lexical is None else weights.lexical,
        dedupe=bool(body.dedupe),
    )


def _at_most(value: int, limit: int, name: str) -> int:
    if value > limit:
        raise InvalidRequest(f"{name} must be at most {limit}.", param=name)
    return value


def _queries(body: SearchBody, args: AppArgs) -> tuple[QueryItem, ...]:
    if not isinstance(body.query, list):
        return (_item(body.query, "query", args),)
    allowed = args.search.max_queries
    if len(body.query) > allowed:
        raise InvalidRequest(f"query must have at most {allowed} parts.", param="query")
    check_media_count(sum(not isinstance(one, str | TextQuery) for one in body.query), args, "query")
    return tuple(_item(one, f"query.{index}", args) for index, one in enumerate(body.query))


def _item(one: str | QueryPart, param: str, args: AppArgs) -> QueryItem:
    if isinstance(one, str):
        return QueryItem(query=one, param=param)
    weight = 1.0 if one.weight is None else one.weight
    return QueryItem(query=_query(one, param, args), param=param, weight=weight)


def _query(part: QueryPart, param: str, args: AppArgs) -> str | MediaSource | FileReference:
    if isinstance(part, TextQuery):
        return part.words
    if not isinstance(part, FileQuery):
        return media_source(part, param, args)
    if part.file_id is not None:
        return FileReference(file_id=part.file_id, param=param)
    if part.file is None:
        raise InvalidRequest(f"{param} must have file or file_id.", param=param)
    content = FileContent(
        type="file", file=part.file, frame_sampling=part.frame_sampling, max_frames=part.max_frames
    )
    return media_source(content, param, args)


def search_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["library"])

    @router.post(
        SEARCH,
        summary="Find pictures, scenes, speech, pages and texts in uploaded files",
        response_model=SearchResponse,
        responses=error_responses(),
        openapi_extra=json_body(SearchBody, SEARCH_EXAMPLES),
    )
    async def search(request: Request) -> Response:
        asked = await read_body(
            request, SearchBody, lambda body: search_request(body, surface.args, surface.clock())
        )
        exchange = exchange_of(request.scope)
        record = Record(exchange, metrics=surface.metrics, timer=surface.timer)
        async with AbortOnDisconnect(request.receive):
            found = await surface.service().library.search(surface.context(exchange), asked, record.see)
        exchange.usage = Usage(prompt_tokens=found.tokens, completion_tokens=0, cached_tokens=0)
        # In a thread: snippets of long texts for long queries take a while.
        answer = await asyncio.to_thread(_answer, found, lexical_words(asked))
        return Response(answer, media_type="application/json")

    return router


def _answer(found: SearchAnswer, words: str) -> str:
    """As JSON."""
    snippets = Snippets(words)
    answer = SearchResponse(
        object="list",
        results=[_found(one, snippets) for one in found.results],
        has_more=found.more,
        usage=EmbeddingsUsage(prompt_tokens=found.tokens, total_tokens=found.tokens),
    )
    return answer.model_dump_json()


def _found(result: SearchResult, snippets: Snippets) -> FoundSegment:
    hit, file = result.hit, result.file
    segment = hit.segment
    return FoundSegment(
        id=segment.id,
        file_id=file.id,
        filename=file.filename,
        type=segment.kind,
        part=segment.part,
        url=content_url(file.id, start_s=segment.start_s, end_s=segment.end_s, page=segment.page),
        thumbnail_url=thumbnail_url(file.id, segment.ordinal) if segment.thumbnail else None,
        similarity_score=None if hit.similarity is None else round(max(-1.0, min(1.0, hit.similarity)), 4),
        score=round(hit.score, 6),
        start_s=segment.start_s,
        end_s=segment.end_s,
        matched_frames=list(segment.frames_s) or None,
        page=segment.page,
        box=None if segment.box is None else [round(edge, 4) for edge in segment.box],
        snippet=snippets(segment.text),
        metadata=dict(file.metadata),
        created_at=file.created_s,
        duplicates=list(hit.duplicates),
    )
