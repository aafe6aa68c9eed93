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
from multimodal.api.openapi import EMBEDDINGS_EXAMPLES, error_responses, json_body
from multimodal.api.responses import EmbeddingsResponse
from multimodal.api.schemas import EmbeddingsRequest
from multimodal.api.surface import Surface
from multimodal.config import Limits
from multimodal.errors import InvalidRequest
from multimodal.types import TextEmbeddings, Usage

Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsCall:
    """A checked embeddings request."""

    model: str
    texts: tuple[str, ...]
    base64: bool
    dimensions: int | None

    @classmethod
    def of(cls, body: EmbeddingsRequest, limits: Limits, catalogue: Catalogue) -> EmbeddingsCall:
        """Raises ModelNotFound, and InvalidRequest for too many texts."""
        model = catalogue.find(body.model, EMBEDDINGS).id
        texts = (body.input,) if isinstance(body.input, str) else tuple(body.input)
        if len(texts) > limits.embedding_inputs:
            raise InvalidRequest(f"input must have at most {limits.embedding_inputs} texts.", param="input")
        return cls(
            model=model,
            texts=texts,
            base64=body.encoding_format == "base64",
            dimensions=body.dimensions,
        )


def embeddings_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["embeddings"])

    @router.post(
        EMBEDDINGS,
        summary="Embed texts",
        response_model=EmbeddingsResponse,
        responses=error_responses(),
        openapi_extra=json_body(EmbeddingsRequest, EMBEDDINGS_EXAMPLES),
    )
    async def embeddings(request: Request) -> Response:
        call = await read_body(
            request,
            EmbeddingsRequest,
            lambda body: EmbeddingsCall.of(body, surface.args.limits, surface.catalogue),
        )
        exchange = exchange_of(request.scope)
        async with AbortOnDisconnect(request.receive):
            found = await surface.service().embed(surface.context(exchange), call.texts)
        exchange.usage = Usage(prompt_tokens=found.tokens, completion_tokens=0, cached_tokens=0)
        _check_dimensions(call, found)
        body = await asyncio.to_thread(_body, found, call.model, _as_base64 if call.base64 else _as_numbers)
        return Response(body, media_type="application/json")

    return router


def _check_dimensions(call: EmbeddingsCall, found: TextEmbeddings) -> None:
    dimensions = found.vectors.shape[1]
    if call.dimensions not in (None, dimensions):
        raise InvalidRequest(f"This model has {dimensions} dimensions, no others.", param="dimensions")


def _body(found: TextEmbeddings, model: str, encode: Callable[[Row], object]) -> bytes:
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
