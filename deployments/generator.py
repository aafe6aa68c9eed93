"""Generator: the vLLM engine, streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.replica import ReportsMetrics, refuse_if_late, replica_name
from deployments.token_channel import Address, Batch, Outboxes, Sent
from multimodal.config import AppArgs
from multimodal.stages import GeneratorBackend
from multimodal.types import GenerateRequest, GenerationStep, RequestContext, Visual


class Generator(ReportsMetrics):
    """Continuous batching happens inside the engine: every call is one sequence of its batch."""

    def __init__(self, args: AppArgs, make: Callable[[AppArgs], GeneratorBackend]) -> None:
        self._backend = make(args)
        self._outboxes = Outboxes()

    async def generate(
        self, ctx: RequestContext, address: Address, request: GenerateRequest, *visuals: Visual
    ) -> AsyncGenerator[GenerationStep | Sent, None]:
        """Stream the answer, through the channel where one is open. A cancelled call aborts the request in
        the engine."""
        refuse_if_late(ctx)
        async with (
            aclosing(self._backend.generate(ctx, request, visuals)) as steps,
            aclosing(self._outboxes.deliver(address, steps)) as delivered,
        ):
            async for item in delivered:
                yield item

    async def tokens(self, replica: str, gateway: str) -> AsyncGenerator[Batch, None]:
        """The channel from this replica to one Gateway; ends at once where another one was meant."""
        if replica != replica_name():
            return
        async with aclosing(self._outboxes.channel(gateway)) as batches:
            async for batch in batches:
                yield batch

    async def check_health(self) -> None:
        """Called by Serve, which replaces the replica when this raises."""
        await self._backend.check_health()

    def __del__(self) -> None:
        self._backend.close()
