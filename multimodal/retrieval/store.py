"""What an index of segments can do. `edge` and `server` implement it; `engine` is written over it.

Methods block: Retriever calls them in threads. Any number of calls may run at the same time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from multimodal.retrieval.types import Segment, SegmentFilter, Vector, VectorName

Scored = Sequence[tuple[str, float]]
"""Ids of segments with their scores, the best first, equal scores by id."""


class SegmentStore(Protocol):
    """Every call names its tenant, and none reaches the segments of another."""

    def upsert(self, segments: Sequence[Segment]) -> None:
        """Store segments, replacing those of the same id. When this returns, they survive `kill -9`."""
        ...

    def delete_files(self, tenant: str, file_ids: Collection[str]) -> None:
        """Delete all segments of the files. When this returns, that survives `kill -9`."""
        ...

    def nearest(
        self, tenant: str, name: VectorName, vector: Vector, where: SegmentFilter, limit: int
    ) -> Scored:
        """The segments with the largest cosines."""
        ...

    def cosines(
        self, tenant: str, name: VectorName, vector: Vector, ids: Collection[str]
    ) -> Mapping[str, float]:
        """Cosines of those of the segments that have this vector."""
        ...

    def lexical(self, tenant: str, weights: Mapping[int, float], where: SegmentFilter, limit: int) -> Scored:
        """The segments with the largest sparse products with these weights of terms; those without any of the
        terms are left out. See `multimodal.retrieval.lexical`."""
        ...

    def products(
        self, tenant: str, weights: Mapping[int, float], ids: Collection[str]
    ) -> Mapping[str, float]:
        """The sparse products of `lexical` of those of the segments that have any of the terms."""
        ...

    def document_frequencies(self, tenant: str, terms: Collection[int]) -> Mapping[int, int]:
        """In how many segments of the tenant each term occurs: exact."""
        ...

    def count(self, tenant: str, where: SegmentFilter) -> int:
        """How many segments there are: exact."""
        ...

    def get(self, tenant: str, ids: Sequence[str], *, with_vectors: bool) -> Mapping[str, Segment]:
        """Segments by id; ids of none are left out."""
        ...

    def of_file(self, tenant: str, file_id: str, *, with_vectors: bool) -> Sequence[Segment]:
        """All segments of a file, by ordinal."""
        ...

    def look_alikes(
        self, tenant: str, perceptual_hash: int, max_bits: int, limit: int
    ) -> Sequence[tuple[Segment, int]]:
        """Segments whose perceptual hash differs in at most so many bits, and in how many; the nearest first,
        equal ones by id."""
        ...

    def files(self) -> Mapping[str, Sequence[str]]:
        """Ids of all files that have segments, by tenant."""
        ...

    def check_health(self) -> None:
        """Raise when the store cannot serve."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
