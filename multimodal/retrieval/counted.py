"""A store over Qdrant that remembers the counts that searches with words need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from multimodal.retrieval.counts import Counts
from multimodal.retrieval.qdrant import QdrantSegments
from multimodal.retrieval.types import Segment, SegmentFilter, VectorName


class CountedSegments(QdrantSegments):
    """Asks for a count once, until something is written through this store."""

    def __init__(self, sizes: Mapping[VectorName, int], counts: Counts) -> None:
        super().__init__(sizes)
        self._counts = counts

    def upsert(self, segments: Sequence[Segment]) -> None:
        """See QdrantSegments."""
        try:
            super().upsert(segments)
        finally:
            self._counts.forget({segment.tenant for segment in segments})

    def delete_files(self, tenant: str, file_ids: Collection[str]) -> None:
        """See QdrantSegments."""
        try:
            super().delete_files(tenant, file_ids)
        finally:
            self._counts.forget([tenant])

    def document_frequencies(self, tenant: str, terms: Collection[int]) -> Mapping[int, int]:
        """See QdrantSegments."""
        count = super().document_frequency
        return {term: self._counts.get(tenant, term, partial(count, tenant, term)) for term in terms}

    def count(self, tenant: str, wanted: SegmentFilter) -> int:
        """See QdrantSegments."""
        if wanted == SegmentFilter():
            return self._counts.get(tenant, None, partial(super().count, tenant, wanted))
        return super().count(tenant, wanted)
