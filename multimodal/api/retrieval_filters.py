"""The `filters` of a search, and of a chat that looks into uploaded files, in the words of the index."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from multimodal.api.filter_schemas import Bounds, Dates, Filters
from multimodal.errors import InvalidRequest
from multimodal.retrieval.dates import named_range
from multimodal.retrieval.types import Range, Scalar, SegmentFilter
from multimodal.types import MediaKind

__all__ = ["Filters", "segment_filter", "with_kinds"]


def segment_filter(filters: Filters, now_s: float, param: str) -> SegmentFilter:
    """The conditions in the words of the index.

    Args:
        filters: checked, as they were sent.
        now_s: Unix seconds that named ranges of time end at.
        param: where the filters stood in the request.

    Raises InvalidRequest for a range that is empty.
    """
    dates = [
        _dates(value, now_s, f"{param}.{name}")
        for name, value in (("date", filters.date), ("date_range", filters.date_range))
        if value is not None
    ]
    conditions = filters.metadata or {}
    where = SegmentFilter(
        file_ids=_within(filters.file_id, filters.file_ids),
        created_s=_both(dates),
        duration_s=_bounds(filters.duration_s, f"{param}.duration_s") if filters.duration_s else None,
        equal=tuple(_equal(conditions)),
        ranges=tuple(
            (key, _bounds(value, f"{param}.metadata.{key}"))
            for key, value in conditions.items()
            if isinstance(value, Bounds)
        ),
    )
    where = with_kinds(where, None if filters.kind is None else [filters.kind])
    return with_kinds(where, filters.kinds)


def with_kinds(where: SegmentFilter, names: Iterable[str] | None) -> SegmentFilter:
    """A filter for those of its kinds that are named; None: all. "text" is the same as "document"."""
    if names is None:
        return where
    wanted = {MediaKind.DOCUMENT if name == "text" else MediaKind(name) for name in names}
    kinds = tuple(kind for kind in where.kinds or MediaKind if kind in wanted)
    # No kind means all of them, and no file none.
    return replace(where, kinds=kinds) if kinds else replace(where, file_ids=())


def _within(one: str | None, several: Sequence[str] | None) -> tuple[str, ...] | None:
    if one is None:
        return None if several is None else tuple(dict.fromkeys(several))
    return (one,) if several is None or one in several else ()


def _dates(value: str | Dates, now_s: float, param: str) -> Range:
    if isinstance(value, str):
        return named_range(value, now_s)
    return _not_empty(Range(gte=value.after, lt=value.before), param)


def _both(ranges: Sequence[Range]) -> Range | None:
    """Where ranges of time overlap: they have no other bounds than these two."""
    if not ranges:
        return None
    begins = [one.gte for one in ranges if one.gte is not None]
    ends = [one.lt for one in ranges if one.lt is not None]
    return Range(gte=max(begins, default=None), lt=min(ends, default=None))


def _bounds(value: Bounds, param: str) -> Range:
    return _not_empty(Range(gte=value.gte, lte=value.lte, gt=value.gt, lt=value.lt), param)


def _not_empty(bounds: Range, param: str) -> Range:
    lower = [bound for bound in (bounds.gte, bounds.gt) if bound is not None]
    upper = [bound for bound in (bounds.lte, bounds.lt) if bound is not None]
    if lower and upper:
        low, high = max(lower), min(upper)
        if low > high or (low == high and (low == bounds.gt or high == bounds.lt)):
            raise InvalidRequest(
                "Nothing is within these bounds: the upper one must be above the lower one.", param=param
            )
    return bounds


def _equal(
    conditions: Mapping[str, Scalar | list[Scalar] | Bounds],
) -> Iterator[tuple[str, tuple[Scalar, ...]]]:
    for key, value in conditions.items():
        if isinstance(value, list):
            yield key, tuple(value)
        elif not isinstance(value, Bounds):
            yield key, (value,)
