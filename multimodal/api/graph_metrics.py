"""Joins the metrics of many processes into one exposition, told apart by labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector


def merge(texts: Mapping[str, Mapping[str, str]]) -> bytes:
    """One exposition of those of every replica, by deployment and by name of the replica.

    Each sample gains the labels `deployment` and `replica`, so that nothing collides and sums over a
    deployment are sums over a label. A family is announced once, as Prometheus demands.
    """
    families: dict[str, Metric] = {}
    for deployment, replicas in texts.items():
        for replica, text in replicas.items():
            for family in text_string_to_metric_families(text):
                joined = families.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "deployment": deployment, "replica": replica}
                    joined.add_sample(sample.name, labels, sample.value)
    registry = CollectorRegistry()
    registry.register(_Fixed(families.values()))
    return generate_latest(registry)


class _Fixed(Collector):
    """Metrics that were measured elsewhere."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families
