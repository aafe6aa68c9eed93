"""What the endpoints share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from multimodal.api.catalogue import Catalogue
from multimodal.api.exchange import Exchange, Timer
from multimodal.api.metrics import Metrics
from multimodal.api.service import Service
from multimodal.config import AppArgs
from multimodal.types import RequestContext


@dataclass(frozen=True, kw_only=True)
class Surface:
    """One HTTP surface: its service, its settings, its clocks."""

    service: Callable[[], Service]
    args: AppArgs
    clock: Callable[[], float]
    """Unix seconds."""
    timer: Timer
    catalogue: Catalogue
    metrics: Metrics = field(default_factory=Metrics)
    replica: str = "local"
    """What tells this surface from others of the same server."""

    def context(self, exchange: Exchange) -> RequestContext:
        """The first argument of every stage. The time to send the body is not counted."""
        return RequestContext(
            request_id=exchange.request_id,
            tenant=exchange.tenant,
            deadline_s=self.clock() + self.args.deadline.base_s,
        )
