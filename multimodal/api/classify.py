"""POST /v1/classify: which of some labels fits a picture or a video."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from multimodal.api.body import read_body
from multimodal.api.catalogue import CLASSIFY, IMAGE_ALIAS, Catalogue
from multimodal.api.classify_schemas import PLACE, ClassifyAnswer, ClassifyBody, LabelResult
from multimodal.api.disconnect import AbortOnDisconnect
from multimodal.api.exchange import exchange_of
from multimodal.api.media_parts import media_source
from multimodal.api.openapi import CLASSIFY_EXAMPLES, error_responses, json_body
from multimodal.api.record import Record
from multimodal.api.responses import EmbeddingsUsage
from multimodal.api.surface import Surface
from multimodal.config import AppArgs
from multimodal.types import Classification, ClassifyRequest, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyCall:
    """A checked classification request."""

    model: str
    request: ClassifyRequest

    @classmethod
    def of(cls, body: ClassifyBody, args: AppArgs, catalogue: Catalogue) -> ClassifyCall:
        """Raises ModelNotFound, and what `media_source` raises."""
        return cls(
            model=catalogue.find(body.model or IMAGE_ALIAS, CLASSIFY).id,
            request=ClassifyRequest(
                source=media_source(body.input, "input", args),
                labels=tuple(body.labels),
                template=body.template or PLACE,
            ),
        )


def classify_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["embeddings"])

    @router.post(
        CLASSIFY,
        summary="Say which of some labels fits a picture or a video",
        response_model=ClassifyAnswer,
        responses=error_responses(),
        openapi_extra=json_body(ClassifyBody, CLASSIFY_EXAMPLES),
    )
    async def classify(request: Request) -> Response:
        call = await read_body(
            request, ClassifyBody, lambda body: ClassifyCall.of(body, surface.args, surface.catalogue)
        )
        exchange = exchange_of(request.scope)
        record = Record(exchange, metrics=surface.metrics, timer=surface.timer)
        async with AbortOnDisconnect(request.receive):
            found = await surface.service().classify(surface.context(exchange), call.request, record.see)
        exchange.usage = Usage(prompt_tokens=found.tokens, completion_tokens=0, cached_tokens=0)
        return Response(_answer(found, call.model).model_dump_json(), media_type="application/json")

    return router


def _answer(found: Classification, model: str) -> ClassifyAnswer:
    return ClassifyAnswer(
        object="classification",
        model=model,
        results=[
            LabelResult(label=one.label, score=one.score, similarity=one.similarity) for one in found.results
        ],
        usage=EmbeddingsUsage(prompt_tokens=found.tokens, total_tokens=found.tokens),
    )
