"""What all replicas share: refusing work that is too late, and reporting metrics."""

from __future__ import annotations

from prometheus_client import REGISTRY, generate_latest

from multimodal.errors import DeadlineExceeded
from multimodal.types import RequestContext


def refuse_if_late(ctx: RequestContext) -> None:
    """Raise DeadlineExceeded where nobody waits for the result any more."""
    if ctx.remaining_s() <= 0:
        raise DeadlineExceeded("The request waited too long for its turn. Try again, or send less media.")


class ReportsMetrics:
    """A replica that can be asked for its metrics."""

    def metrics(self) -> str:
        """This process's metrics in Prometheus' text format, vLLM's own included where it runs here."""
        return generate_latest(REGISTRY).decode()
