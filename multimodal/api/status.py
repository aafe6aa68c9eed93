"""The endpoints that say what this server is and how it is: models, health, readiness, metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from starlette.responses import PlainTextResponse

from multimodal.api.catalogue import TEXT_ALIAS, Entry
from multimodal.api.errors import error_headers
from multimodal.api.exchange import exchange_of
from multimodal.api.graph_metrics import merge
from multimodal.api.metrics import CONTENT_TYPE
from multimodal.api.openapi import error_responses
from multimodal.api.operators import require_operator
from multimodal.api.responses import ErrorBody, Health, Model, ModelList, Readiness
from multimodal.api.surface import Surface
from multimodal.errors import StageUnavailable
from multimodal.types import StageState

ModelId = Annotated[str, Path(description="an id of the list, or a conventional name", examples=[TEXT_ALIAS])]

GATEWAY = "Gateway"
"""The deployment that this surface is served by."""


def models_router(surface: Surface) -> APIRouter:
    """GET /v1/models and /v1/models/{id}."""
    router = APIRouter(tags=["models"])
    created = int(surface.clock())

    def model(entry: Entry) -> Model:
        return Model(
            id=entry.id, created=created, modalities=list(entry.modalities), endpoints=list(entry.endpoints)
        )

    @router.get("/v1/models", summary="The models, the generator first", responses=error_responses())
    async def models() -> ModelList:
        return ModelList(data=[model(entry) for entry in surface.catalogue.entries])

    @router.get("/v1/models/{model_id:path}", summary="One model", responses=error_responses())
    async def one_model(model_id: ModelId) -> Model:
        return model(surface.catalogue.find(model_id))

    return router


def health_router(surface: Surface) -> APIRouter:
    """GET /healthz, /readyz and /metrics."""
    router = APIRouter(tags=["operation"])

    @router.get("/healthz", summary="Whether the server is alive", responses=error_responses())
    async def healthz() -> Health:
        return Health()

    @router.get(
        "/readyz",
        summary="Whether every stage can serve",
        responses={
            503: {"model": Readiness, "description": "Not every stage can serve"},
            **error_responses(),
        },
        response_model=Readiness,
        response_model_exclude_none=True,
    )
    async def readyz(response: Response) -> Readiness:
        readiness, error = _readiness(dict(await surface.service().states()))
        if error is not None:
            response.status_code = error.status
            response.headers.update(error_headers(error))
        return readiness

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=PlainTextResponse,
        responses=error_responses(),
    )
    async def metrics(request: Request) -> Response:
        if surface.args.api.operators:  # they name every tenant
            require_operator(exchange_of(request.scope).tenant, surface.args.api)
        texts = await graph_texts(surface)
        return Response(await asyncio.to_thread(merge, texts), headers={"content-type": CONTENT_TYPE})

    return router


async def graph_texts(surface: Surface) -> dict[str, dict[str, str]]:
    """Metrics in Prometheus' text format, by deployment and replica, as of now."""
    texts = {name: dict(replicas) for name, replicas in (await surface.service().metrics()).items()}
    # Whatever the others say, this replica can speak for itself.
    texts.setdefault(GATEWAY, {}).setdefault(surface.replica, surface.metrics.render().decode())
    return texts


def _readiness(stages: dict[str, StageState]) -> tuple[Readiness, StageUnavailable | None]:
    unavailable = [name for name, state in stages.items() if state is not StageState.READY]
    if stages and not unavailable:
        return Readiness(status="ready", stages=stages, unavailable=[]), None
    named = ", ".join(f"{name} ({stages[name]})" for name in unavailable)
    error = StageUnavailable(f"Not ready yet: {named or 'no stage is known'}.")
    body = ErrorBody(message=error.message, type=error.type, param=None, code=error.code)
    return Readiness(status="not_ready", stages=stages, unavailable=unavailable, error=body), error
