"""POST /v1/embeddings."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from multimodal.api.body import read_body
from multimodal.api.catalogue import EMBEDDINGS, Catalogue
from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.exchange import exchange_of
from multimodal.api.media_parts import check_media_count, media_source
from multimodal.api.openapi import EMBEDDINGS_EXAMPLES, error_responses, json_body
from multimodal.api.record import Record
from multimodal.api.responses import EmbeddingsResponse
from multimodal.api.schemas import EmbeddingPart, EmbeddingsRequest, EmbeddingTextContent
from multimodal.api.surface import Surface
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest
from multimodal.types import Embeddings, FileReference, MediaSource, Usage

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsCall:
    """A checked embeddings request."""

    model: str
    inputs: tuple[str | MediaSource | FileReference, ...]
    base64: bool
    dimensions: int | None

    @classmethod
    def of(cls, body: EmbeddingsRequest, args: AppArgs, catalogue: Catalogue) -> EmbeddingsCall:
        """Raises ModelNotFound, InvalidRequest and MediaTooLarge for too many inputs, and what `media_source`
        raises."""
        model = catalogue.find(body.model, EMBEDDINGS).id
        items = [body.input] if isinstance(body.input, str) else body.input
        allowed = args.limits.embedding_inputs
        if len(items) > allowed:
            raise InvalidRequest(f"input must have at most {allowed} items.", param="input")
        media = sum(not isinstance(item, str | EmbeddingTextContent) for item in items)
        check_media_count(media, args, "input")
        return cls(
            model=model,
            inputs=tuple(_input(item, f"input.{index}", args) for index, item in enumerate(items)),
            base64=body.encoding_format == "base64",
            dimensions=body.dimensions,
        )


def _input(item: str | EmbeddingPart, param: str, args: AppArgs) -> str | MediaSource | FileReference:
    if isinstance(item, str):
        return item
    return item.text if isinstance(item, EmbeddingTextContent) else media_source(item, param, args)


def embeddings_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["embeddings"])

    @router.post(
        EMBEDDINGS,
        summary="Embed texts, pictures, recordings and videos into one vector space",
        response_model=EmbeddingsResponse,
        responses=error_responses(),
        openapi_extra=json_body(EmbeddingsRequest, EMBEDDINGS_EXAMPLES),
    )
    async def embeddings(request: Request) -> Response:
        call = await read_body(
            request,
            EmbeddingsRequest,
            lambda body: EmbeddingsCall.of(body, surface.args, surface.catalogue),
        )
        exchange = exchange_of(request.scope)
        record = Record(exchange, metrics=surface.metrics, timer=surface.timer)
        async with AbortOnDisconnect(request.receive):
            found = await surface.service().embed(surface.context(exchange), call.inputs, record.see)
        exchange.usage = Usage(prompt_tokens=found.tokens, completion_tokens=0, cached_tokens=0)
        _check_dimensions(call, found)
        body = await asyncio.to_thread(_body, found, call.model, _as_base64 if call.base64 else _as_numbers)
        return Response(body, media_type="application/json")

    return router


def _check_dimensions(call: EmbeddingsCall, found: Embeddings) -> None:
    dimensions = found.vectors.shape[1]
    if call.dimensions not in (None, dimensions):
        raise InvalidRequest(f"This model has {dimensions} dimensions, no others.", param="dimensions")


def _body(found: Embeddings, model: str, encode: Callable[[Row], object]) -> bytes:
    data = [
        {"object": "embedding", "index": index, "embedding": encode(row)}
        for index, row in enumerate(found.vectors)
    ]
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    return msgspec.json.encode({"object": "list", "data": data, "model": model, "usage": usage})


def _as_numbers(row: Row) -> object:
    return row.tolist()


def _as_base64(row: Row) -> object:
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
