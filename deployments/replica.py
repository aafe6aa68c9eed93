"""What all replicas share: a closed port, refusing work that is too late, and reporting metrics."""

from __future__ import annotations

import logging

from prometheus_client import REGISTRY, Counter, Histogram, generate_latest
from ray import serve

from deployments.batching import in_replica
from deployments.loopback import keep_on_loopback
from multimodal.config import AppArgs
from multimodal.errors import DeadlineExceeded
from multimodal.serving.processes import give_way
from multimodal.types import MediaKind, RequestContext

logger = logging.getLogger(__name__)

keep_on_loopback()

TEXT = "text"
"""The modality of sentences, beside those of media."""

_ENCODED = Counter("multimodal_encoded_items", "Items that an encoder worked on", ["encoder", "modality"])
_BATCH = Histogram(
    "multimodal_batch_size",
    "Items in one batch of an encoder",
    ["encoder"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
)


def count_batch(encoder: object, modality: MediaKind | str, items: int) -> None:
    """Record one batch of the deployment `encoder`."""
    name = type(encoder).__name__
    _ENCODED.labels(name, modality).inc(items)
    _BATCH.labels(name).observe(items)


def refuse_if_late(ctx: RequestContext) -> None:
    """Raise DeadlineExceeded where nobody waits for the result any more."""
    if ctx.remaining_s() <= 0:
        raise DeadlineExceeded("The request waited too long for its turn. Try again, or send less media.")


def give_way_to_text(args: AppArgs) -> None:
    """Called by the replica of a deployment that runs a model on media, before it starts threads."""
    if args.media_cpu == "idle" and in_replica():
        try:
            give_way()
        except OSError as error:
            logger.warning("Work on media is not slowed down for text: the kernel said %s.", error)


class ReportsMetrics:
    """A replica that can be asked for its metrics."""

    def metrics(self) -> tuple[str, str]:
        """The replica's name, and its metrics in Prometheus' text format, vLLM's own included where it runs
        here."""
        return replica_name(), self.exposition()

    def exposition(self) -> str:
        """This process's metrics."""
        return generate_latest(REGISTRY).decode()


def replica_name() -> str:
    """What tells this replica from others of its deployment, as the Ray dashboard shows it."""
    return serve.get_replica_context().replica_id.unique_id if in_replica() else "local"
