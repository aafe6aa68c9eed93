"""One collection on a Qdrant server: what goes over the wire.

Uses only what servers of release 1.16 and later know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from qdrant_client import QdrantClient
from qdrant_client import models as qdrant
from qdrant_client.http.exceptions import UnexpectedResponse

from multimodal.config import RetrieverArgs
from multimodal.retrieval.filters import TENANT, AnyOf, Condition, HasId, Where
from multimodal.retrieval.points import (
    HASH_BITS,
    LEXICAL,
    LOOK,
    READ_FIELDS,
    IndexSchema,
    PointData,
    StoredPoint,
)
from multimodal.retrieval.qdrant import INDEXED_FLOATS, INDEXED_INTEGERS, INDEXED_KEYWORDS
from multimodal.retrieval.types import VectorName

FLOAT_BYTES = 4
_ALL = 10_000_000
"""Values of a field that a list of them may have."""
_CONFLICT = 409


class ServerPoints:
    """Implements PointReader and PointWriter. Writes return when they are applied and in the server's log."""

    def __init__(self, client: QdrantClient, args: RetrieverArgs) -> None:
        self._client, self._args = client, args
        self._name = args.collection

    def ensure(self, schema: IndexSchema) -> None:
        """Make the collection, or check the one there is."""
        if not self._client.collection_exists(self._name):
            self._create(schema)
        metadata = self._client.get_collection(self._name).config.metadata or {}
        stored = IndexSchema.from_json(metadata)
        schema.check(stored)
        if stored.owner is None and schema.owner is not None:
            self._client.update_collection(self._name, metadata={**metadata, "owner": schema.owner})
        self._index()

    def check(self) -> None:
        """One round trip."""
        self._client.collection_exists(self._name)

    def put(self, batch: Sequence[PointData]) -> None:
        """See PointWriter."""
        self._client.upsert(self._name, [_point(point) for point in batch], wait=True)

    def drop(self, which: Where) -> None:
        """See PointWriter."""
        self._client.delete(self._name, qdrant.FilterSelector(filter=_filter(which)), wait=True)

    def nearest(
        self, name: str, vector: list[float], which: Where, limit: int, *, exact: bool, at_least: float | None
    ) -> list[tuple[str, float]]:
        """See PointReader."""
        found = self._client.query_points(
            self._name,
            query=vector,
            using=name,
            query_filter=_filter(which),
            limit=limit,
            score_threshold=at_least,
            search_params=qdrant.SearchParams(hnsw_ef=max(self._args.hnsw_ef, limit), exact=exact),
            with_payload=False,
        )
        return [(str(point.id), point.score) for point in found.points]

    def products(self, weights: Mapping[int, float], which: Where, limit: int) -> list[tuple[str, float]]:
        """See PointReader."""
        found = self._client.query_points(
            self._name,
            query=_sparse(weights),
            using=LEXICAL,
            query_filter=_filter(which),
            limit=limit,
            with_payload=False,
        )
        return [(str(point.id), point.score) for point in found.points]

    def count(self, which: Where) -> int:
        """See PointReader."""
        return self._client.count(self._name, count_filter=_filter(which), exact=True).count

    def page(
        self, which: Where, after: str | None, limit: int, *, with_vectors: bool
    ) -> tuple[list[StoredPoint], str | None]:
        """See PointReader."""
        records, following = self._client.scroll(
            self._name,
            scroll_filter=_filter(which),
            offset=after,
            limit=limit,
            with_payload=list(READ_FIELDS),
            with_vectors=[str(name) for name in VectorName] if with_vectors else False,
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
        condition = None if which is None else _filter(which)
        found = self._client.facet(self._name, key, facet_filter=condition, limit=_ALL, exact=True)
        # Values of deleted points stay in the index for a while, and count nothing.
        return [str(hit.value) for hit in found.hits if hit.count]

    def _create(self, schema: IndexSchema) -> None:
        """Another replica may do the same at the same moment: then its collection is checked."""
        try:
            self._client.create_collection(
                self._name,
                vectors_config=self._vectors(schema.sizes),
                sparse_vectors_config={LEXICAL: qdrant.SparseVectorParams()},
                metadata=schema.as_json(),
                on_disk_payload=True,
                # Ranges over the users' own keys have no index; see `filters`.
                strict_mode_config=qdrant.StrictModeConfig(enabled=False),
                hnsw_config=self._hnsw(schema.sizes),
                optimizers_config=qdrant.OptimizersConfigDiff(
                    indexing_threshold=_kilobytes(self._args.index_from, schema.sizes)
                ),
            )
        except UnexpectedResponse as error:
            if error.status_code != _CONFLICT:
                raise

    def _vectors(self, sizes: Mapping[VectorName, int]) -> dict[str, qdrant.VectorParams]:
        cosine = qdrant.Distance.COSINE
        vectors = {str(name): qdrant.VectorParams(size=size, distance=cosine) for name, size in sizes.items()}
        vectors[LOOK] = qdrant.VectorParams(
            size=HASH_BITS,
            distance=cosine,
            datatype=qdrant.Datatype.FLOAT16,
            hnsw_config=qdrant.HnswConfigDiff(m=0, payload_m=0),
        )
        return vectors

    def _hnsw(self, sizes: Mapping[VectorName, int]) -> qdrant.HnswConfigDiff:
        """A graph for each tenant and none for all: see `edge_points.configuration`."""
        return qdrant.HnswConfigDiff(
            m=0,
            payload_m=self._args.hnsw_m,
            ef_construct=self._args.hnsw_ef_construct,
            full_scan_threshold=_kilobytes(self._args.index_from, sizes),
        )

    def _index(self) -> None:
        """Indexes of payload fields; does nothing where they are there. A replica that died half-way through
        may have left some out."""
        for key in INDEXED_KEYWORDS:
            params = qdrant.KeywordIndexParams(
                type=qdrant.KeywordIndexType.KEYWORD, is_tenant=key == TENANT, enable_hnsw=key == TENANT
            )
            self._client.create_payload_index(self._name, key, params, wait=True)
        for key in INDEXED_FLOATS:
            floats = qdrant.FloatIndexParams(type=qdrant.FloatIndexType.FLOAT, enable_hnsw=False)
            self._client.create_payload_index(self._name, key, floats, wait=True)
        for key in INDEXED_INTEGERS:
            integers = qdrant.IntegerIndexParams(
                type=qdrant.IntegerIndexType.INTEGER, lookup=True, range=False, enable_hnsw=False
            )
            self._client.create_payload_index(self._name, key, integers, wait=True)


def _kilobytes(count: int, sizes: Mapping[VectorName, int]) -> int:
    return max(10, count * max(sizes.values(), default=1) * FLOAT_BYTES // 1024)


def _point(point: PointData) -> qdrant.PointStruct:
    vectors: dict[str, qdrant.Vector] = {**point.dense}
    if point.sparse:
        vectors[LEXICAL] = _sparse(point.sparse)
    return qdrant.PointStruct(id=point.id, vector=vectors, payload=point.payload)


def _sparse(weights: Mapping[int, float]) -> qdrant.SparseVector:
    indices = sorted(weights)
    return qdrant.SparseVector(indices=indices, values=[weights[index] for index in indices])


def _filter(which: Where) -> qdrant.Filter:
    return qdrant.Filter(
        must=[_condition(condition) for condition in which.must],
        must_not=[_condition(condition) for condition in which.must_not],
    )


def _condition(condition: Condition) -> qdrant.HasIdCondition | qdrant.FieldCondition:
    match condition:
        case HasId(ids):
            return qdrant.HasIdCondition(has_id=list(ids))
        case AnyOf(key, values):
            return qdrant.FieldCondition(key=key, match=qdrant.MatchAny(any=cast("list[str]", list(values))))
        case _:
            bounds = condition.bounds
            return qdrant.FieldCondition(
                key=condition.key,
                range=qdrant.Range(gte=bounds.gte, gt=bounds.gt, lte=bounds.lte, lt=bounds.lt),
            )
