"""Gateway: HTTP in, Server-Sent Events out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI

from deployments.batching import in_replica
from deployments.calls import Handle
from deployments.flow import bound_replica
from deployments.graph import Graph, Handles
from deployments.replica import ReportsMetrics, replica_name
from multimodal.api.app import create_app
from multimodal.api.metrics import Metrics
from multimodal.config import AppArgs
from multimodal.encode_once import EncodeOnce
from multimodal.library.files import Library
from multimodal.pipeline import Assistant

bound_replica()

THREADS = 32
"""For parsing of large bodies, files and their database."""


class Gateway(ReportsMetrics):
    """The OpenAI API over the graph. The ingress deployment: Serve calls `__serve_build_asgi_app__`."""

    def __init__(
        self,
        args: AppArgs,
        make_library: Callable[[AppArgs], Library],
        make_once: Callable[[AppArgs], EncodeOnce],
        **deployments: Handle,
    ) -> None:
        if in_replica():
            _log_to_stderr()
            # Serve gives a replica with a share of a core five threads, some of which wait for uploads.
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="gateway"))
        self._args = args
        graph = Graph(Handles(**deployments), args, make_once(args))
        self._assistant = Assistant(graph, args, make_library(args))
        self._metrics = Metrics()

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(
            lambda: self._assistant,
            self._args,
            metrics=self._metrics,
            replica=replica_name(),
            send_request_id=False,  # Serve's proxy sends it
        )

    def exposition(self) -> str:
        """This process's metrics and those of the HTTP surface."""
        return super().exposition() + self._metrics.render().decode()


def _log_to_stderr() -> None:
    """One JSON object for each request, as the API wrote it, where Ray collects the output of replicas."""
    logger = logging.getLogger("multimodal")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
