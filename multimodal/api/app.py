"""Puts the HTTP surface together."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from multimodal.api.auth import AuthMiddleware, KeyRing
from multimodal.api.cache_stats import cache_stats_router
from multimodal.api.catalogue import Catalogue
from multimodal.api.chat import chat_router
from multimodal.api.classify import classify_router
from multimodal.api.embeddings import embeddings_router
from multimodal.api.exchange import ExchangeMiddleware, Timer, answer_error
from multimodal.api.files import files_router, upload_limits
from multimodal.api.limits import BodyLimitMiddleware
from multimodal.api.metrics import Metrics
from multimodal.api.openapi import DocumentedApp
from multimodal.api.search import search_router
from multimodal.api.service import Service
from multimodal.api.status import health_router, models_router
from multimodal.api.surface import Surface
from multimodal.api.transcribe import transcribe_router
from multimodal.api.transcription import transcriptions_router
from multimodal.api.video import video_router
from multimodal.config import AppArgs
from multimodal.errors import MultimodalError


def create_app(
    service: Callable[[], Service],
    args: AppArgs,
    clock: Callable[[], float] = time.time,
    timer: Timer = time.perf_counter,
    *,
    metrics: Metrics | None = None,
    replica: str = "local",
    allowed_hosts: Collection[str] = (),
    send_request_id: bool = True,
) -> FastAPI:
    """The app of one replica; several may exist in a process.

    Args:
        service: gives the service when the first request comes, so that the app may exist before it.
        args: limits, deadlines, keys and model names.
        clock: Unix seconds, for deadlines and timestamps.
        timer: monotonic seconds, for durations.
        metrics: where the app counts; its own by default.
        replica: what tells it from other replicas in metrics.
        allowed_hosts: host names beside loopback that are served without keys (tests, a local name).
        send_request_id: whether to set the header `x-request-id`. Ray Serve's proxy appends one by itself.

    Raises ConfigError for malformed keys.
    """
    keys = KeyRing(args.api.keys)
    surface = Surface(
        service=service,
        args=args,
        clock=clock,
        timer=timer,
        catalogue=Catalogue(args),
        metrics=metrics or Metrics(),
        replica=replica,
    )
    app = DocumentedApp(
        title="multimodal",
        version=version("multimodal"),
        description="A self-hosted multimodal assistant. OpenAI's API where OpenAI has one.",
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    routers = (
        chat_router,
        embeddings_router,
        classify_router,
        transcriptions_router,
        transcribe_router,
        video_router,
        files_router,
        search_router,
        models_router,
        health_router,
        cache_stats_router,
    )
    for router in routers:
        app.include_router(router(surface))
    for kind in (MultimodalError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer_error)
    # The last one added is the outermost.
    app.add_middleware(
        BodyLimitMiddleware, limit_bytes=args.limits.body_bytes, own=upload_limits(args.library)
    )
    app.add_middleware(AuthMiddleware, keys=keys, allowed_hosts=allowed_hosts)
    app.add_middleware(
        ExchangeMiddleware,
        timer=timer,
        metrics=surface.metrics,
        paths=[route.path for route in app.routes if isinstance(route, Route)],
        send_id=send_request_id,
    )
    return app
