"""Ingestor: uploaded files into the index, in the background, with the encoders that serve requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prometheus_client import Counter, Histogram

from deployments.calls import Handle
from deployments.graph import Graph, Handles
from deployments.replica import ReportsMetrics
from multimodal.config import AppArgs
from multimodal.encode_once import EncodeOnce
from multimodal.errors import MultimodalError
from multimodal.library.ingest import Ended, Ingest
from multimodal.library.processing import Shelf

_FILES = Counter("multimodal_ingested_files", "Files that were worked on", ["kind", "status"])
_SEGMENTS = Counter("multimodal_ingested_segments", "Segments that were stored", ["kind"])
_SECONDS = Histogram(
    "multimodal_ingest_seconds",
    "Time that the work on one file took",
    ["kind"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
)


class Ingestor(ReportsMetrics):
    """Works from the moment it is there; nobody calls it but for its health and its metrics."""

    def __init__(
        self,
        args: AppArgs,
        make_library: Callable[[AppArgs], Shelf],
        make_once: Callable[[AppArgs], EncodeOnce],
        **deployments: Handle,
    ) -> None:
        graph = Graph(Handles(**deployments), args, make_once(args))
        ingest = Ingest(graph, make_library(args), args, on_end=count_file)
        # Serve makes replicas on the event loop that their methods run on.
        self._work = asyncio.get_running_loop().create_task(ingest.run())

    def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        if self._work.done():
            raise MultimodalError("The Ingestor has stopped working.")

    async def __del__(self) -> None:
        """Files that are being worked on are given back, so that they need not wait for their leases."""
        self._work.cancel()
        await asyncio.wait([self._work])


def count_file(ended: Ended) -> None:
    """Record what became of one file."""
    kind = ended.file.kind or "other"
    _FILES.labels(kind, ended.outcome).inc()
    _SEGMENTS.labels(kind).inc(ended.segments)
    _SECONDS.labels(kind).observe(ended.seconds)
