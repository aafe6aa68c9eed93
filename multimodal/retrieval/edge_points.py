"""Qdrant's engine in this process: one folder of points.

Its calls hold the interpreter lock from beginning to end (qdrant-edge-py 0.9): writes come in small batches,
and `optimize` is only called in a process of its own (`edge_build`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import qdrant_edge as qdrant

from multimodal.config import RetrieverArgs
from multimodal.retrieval.filters import TENANT, AnyOf, Condition, HasId, Where
from multimodal.retrieval.points import HASH_BITS, LEXICAL, LOOK, READ_FIELDS, PointData, StoredPoint
from multimodal.retrieval.qdrant import INDEXED_FLOATS, INDEXED_INTEGERS, INDEXED_KEYWORDS
from multimodal.retrieval.types import VectorName

FLOAT_BYTES = 4
_ALL = 10_000_000
"""Values of a field that a list of them may have."""
_NEVER_KB = 1 << 40


class EdgePoints:
    """Implements PointReader, and writes. Writes are in the engine's write-ahead log before they return: they
    survive `kill -9`, and, from the next `flush` on, a loss of power."""

    def __init__(self, shard: qdrant.EdgeShard, hnsw_ef: int) -> None:
        self._shard = shard
        self._ef = hnsw_ef

    @classmethod
    def create(cls, folder: Path, args: RetrieverArgs, sizes: Mapping[VectorName, int]) -> EdgePoints:
        """A new, empty one."""
        folder.mkdir(parents=True)
        made = cls(qdrant.EdgeShard.create(str(folder), configuration(args, sizes)), args.hnsw_ef)
        for key, params in _indexes().items():
            made._shard.update(qdrant.UpdateOperation.create_field_index(key, params))
        made.flush()
        return made

    @classmethod
    def load(cls, folder: Path, args: RetrieverArgs, sizes: Mapping[VectorName, int]) -> EdgePoints:
        """One that is there, with everything that was ever acknowledged."""
        return cls(qdrant.EdgeShard.load(str(folder), configuration(args, sizes)), args.hnsw_ef)

    def put(self, batch: Sequence[PointData]) -> None:
        """See PointWriter."""
        self.put_raw([_point(point) for point in batch])

    def put_raw(self, batch: list[qdrant.Point]) -> None:
        """Store points as `raw` gives them."""
        self._shard.update(qdrant.UpdateOperation.upsert_points(batch))

    def drop_ids(self, ids: Sequence[str]) -> None:
        """Delete points; those that are not there are no error."""
        self._shard.update(qdrant.UpdateOperation.delete_points(list(ids)))

    def nearest(
        self, name: str, vector: list[float], which: Where, limit: int, *, exact: bool, at_least: float | None
    ) -> list[tuple[str, float]]:
        """See PointReader."""
        request = qdrant.QueryRequest(
            limit=limit,
            query=qdrant.Query.Nearest(vector, using=name),
            filter=_filter(which),
            score_threshold=at_least,
            params=qdrant.SearchParams(hnsw_ef=max(self._ef, limit), exact=exact),
        )
        return [(str(point.id), point.score) for point in self._shard.query(request)]

    def products(self, weights: Mapping[int, float], which: Where, limit: int) -> list[tuple[str, float]]:
        """See PointReader."""
        request = qdrant.QueryRequest(
            limit=limit,
            query=qdrant.Query.Nearest(_sparse(weights), using=LEXICAL),
            filter=_filter(which),
        )
        return [(str(point.id), point.score) for point in self._shard.query(request)]

    def count(self, which: Where) -> int:
        """See PointReader."""
        return self._shard.count(qdrant.CountRequest(exact=True, filter=_filter(which)))

    def page(
        self, which: Where, after: str | None, limit: int, *, with_vectors: bool
    ) -> tuple[list[StoredPoint], str | None]:
        """See PointReader."""
        records, following = self._shard.scroll(
            qdrant.ScrollRequest(
                offset=after,
                limit=limit,
                filter=_filter(which),
                with_payload=list(READ_FIELDS),
                with_vector=[*VectorName] if with_vectors else False,
            )
        )
        found = [
            StoredPoint(
                id=str(record.id),
                payload=record.payload or {},
                dense=cast("Mapping[str, Sequence[float]]", record.vector or {}),
            )
            for record in records
        ]
        return found, None if following is None else str(following)

    def values(self, key: str, which: Where | None) -> list[str]:
        """See PointReader."""
        request = qdrant.FacetRequest(
            key, limit=_ALL, exact=True, filter=None if which is None else _filter(which)
        )
        # Values of deleted points stay in the index for a while, and count nothing.
        return [str(hit.value) for hit in self._shard.facet(request).hits if hit.count]

    def ids(self, which: Where) -> list[str]:
        """Of all points that there are."""
        found: list[str] = []
        after: str | None = None
        while True:
            request = qdrant.ScrollRequest(
                offset=after, limit=10_000, filter=_filter(which), with_payload=False, with_vector=False
            )
            records, following = self._shard.scroll(request)
            found += [str(record.id) for record in records]
            if following is None:
                return found
            after = str(following)

    def raw(self, ids: Sequence[str]) -> list[qdrant.Point]:
        """Those of the points that there are, whole."""
        records = self._shard.retrieve(list(ids), with_payload=True, with_vector=True)
        return [qdrant.Point(record.id, record.vector or {}, record.payload) for record in records]

    def total(self) -> int:
        """How many points there are, of all tenants."""
        return self._shard.info().points_count

    def flush(self) -> None:
        """Write everything to disk, and begin a new write-ahead log."""
        self._shard.flush()

    def close(self) -> None:
        """Flush, and let go of the folder."""
        self._shard.close()


def configuration(args: RetrieverArgs, sizes: Mapping[VectorName, int]) -> qdrant.EdgeConfig:
    """How points lie on disk, and when and how a graph is built over them.

    The graph links the points of each tenant among themselves and no others (m = 0, payload_m): a search
    always names its tenant. One tenant that owns nearly everything is searched about as fast as with one
    graph for all, and the build takes half as long (40,000 points of 384 dimensions, 4 of 5 of one tenant:
    11.7 s instead of 20.8 s of one core; a search 1.3 ms and 0.9 ms on a busy machine; recall@10 1.0).
    Further links for `kind` found nothing more.
    """
    threshold_kb = _kilobytes(args.index_from, max(sizes.values(), default=1))
    return qdrant.EdgeConfig(
        vectors={
            **{str(name): _dense(size) for name, size in sizes.items()},
            LOOK: qdrant.EdgeVectorParams(
                size=HASH_BITS,
                distance=qdrant.Distance.Cosine,
                # +1 and -1 over 8, their length: exact, and half as large.
                datatype=qdrant.VectorStorageDatatype.Float16,
                hnsw_config=_hnsw(0, args.hnsw_ef_construct, _NEVER_KB),
            ),
        },
        sparse_vectors={LEXICAL: qdrant.EdgeSparseVectorParams(memory=qdrant.Memory.Cached)},
        hnsw_config=_hnsw(args.hnsw_m, args.hnsw_ef_construct, threshold_kb),
        optimizers=qdrant.EdgeOptimizersConfig(
            indexing_threshold=threshold_kb,
            # One large segment is searched faster than several, and is only rebuilt when much has changed.
            default_segment_number=1,
            max_segment_size=_NEVER_KB,
        ),
        wal_enabled=True,
    )


def _kilobytes(count: int, dimensions: int) -> int:
    return max(1, count * dimensions * FLOAT_BYTES // 1024)


def _dense(size: int) -> qdrant.EdgeVectorParams:
    return qdrant.EdgeVectorParams(size=size, distance=qdrant.Distance.Cosine)


def _hnsw(links: int, ef_construct: int, threshold_kb: int) -> qdrant.HnswIndexConfig:
    return qdrant.HnswIndexConfig(
        m=0, ef_construct=ef_construct, full_scan_threshold=threshold_kb, payload_m=links
    )


def _indexes() -> dict[str, qdrant.KeywordIndexParams | qdrant.FloatIndexParams | qdrant.IntegerIndexParams]:
    memory = qdrant.Memory.Cached
    return {
        **{
            key: qdrant.KeywordIndexParams(is_tenant=key == TENANT, enable_hnsw=key == TENANT, memory=memory)
            for key in INDEXED_KEYWORDS
        },
        **{key: qdrant.FloatIndexParams(enable_hnsw=False, memory=memory) for key in INDEXED_FLOATS},
        **{
            key: qdrant.IntegerIndexParams(lookup=True, range=False, enable_hnsw=False, memory=memory)
            for key in INDEXED_INTEGERS
        },
    }


def _point(point: PointData) -> qdrant.Point:
    vectors: dict[str, list[float] | qdrant.SparseVector | list[list[float]]] = {**point.dense}
    if point.sparse:
        vectors[LEXICAL] = _sparse(point.sparse)
    return qdrant.Point(point.id, vectors, point.payload)


def _sparse(weights: Mapping[int, float]) -> qdrant.SparseVector:
    indices = sorted(weights)
    return qdrant.SparseVector(indices, [weights[index] for index in indices])


def _filter(which: Where) -> qdrant.Filter:
    return qdrant.Filter(
        must=[_condition(condition) for condition in which.must],
        must_not=[_condition(condition) for condition in which.must_not],
    )


def _condition(condition: Condition) -> qdrant.FieldCondition | qdrant.HasIdCondition:
    match condition:
        case HasId(ids):
            return qdrant.HasIdCondition(set(ids))
        case AnyOf(key, values):
            # The stubs name lists of either, which lists are not.
            return qdrant.FieldCondition(key, match=qdrant.MatchAny(cast("list[str]", list(values))))
        case _:
            bounds = condition.bounds
            return qdrant.FieldCondition(
                condition.key,
                range=qdrant.RangeFloat(gte=bounds.gte, gt=bounds.gt, lte=bounds.lte, lt=bounds.lt),
            )
