"""Generator: the vLLM engine, streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.replica import ReportsMetrics, refuse_if_late
from multimodal.config import AppArgs
from multimodal.stages import GeneratorBackend
from multimodal.types import GenerateRequest, GenerationStep, RequestContext, Visual


class Generator(ReportsMetrics):
    """Continuous batching happens inside the engine: every call is one sequence of its batch."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], GeneratorBackend]) -> None:
        self._backend = make(args)

    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, *visuals: Visual
    ) -> AsyncGenerator[GenerationStep, None]:
        """Stream the answer; a cancelled call aborts the request in the engine."""
        refuse_if_late(ctx)
        async with aclosing(self._backend.generate(ctx, request, visuals)) as steps:
            async for step in steps:
                yield step

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        await self._backend.check_health()

    def __del__(self) -> None:
        self._backend.close()
