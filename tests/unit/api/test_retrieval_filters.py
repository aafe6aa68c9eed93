"""The `filters` of a search: what is taken, what it means, and what is refused."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.api.body import parse
from multimodal.api.content import Schema
from multimodal.api.filter_schemas import MOST_FILES, MOST_KEYS, MOST_VALUES, Filters
from multimodal.api.retrieval_filters import segment_filter, with_kinds
from multimodal.errors import InvalidRequest
from multimodal.retrieval.dates import named_range, parse_moment
from multimodal.retrieval.types import Range, Scalar, SegmentFilter
from multimodal.types import MediaKind
from tests.unit.api.fakes import NOW_S

IMAGE, AUDIO, VIDEO, DOCUMENT = MediaKind


class Body(Schema):
    filters: Filters


SCHEMA = jsonschema_rs.Draft202012Validator(Filters.model_json_schema(), validate_formats=True)


def read(filters: object) -> SegmentFilter:
    body = parse(Body, bytearray(json.dumps({"filters": filters}).encode()))
    return segment_filter(body.filters, NOW_S, "filters")


TAKEN: list[tuple[dict[str, object], SegmentFilter]] = [
    ({}, SegmentFilter()),
    (dict.fromkeys(Filters.model_fields), SegmentFilter()),
    ({"file_id": "a"}, SegmentFilter(file_ids=("a",))),
    ({"file_ids": ["b", "a", "b"]}, SegmentFilter(file_ids=("b", "a"))),
    ({"file_id": "a", "file_ids": ["b", "a"]}, SegmentFilter(file_ids=("a",))),
    ({"file_id": "a", "file_ids": ["b"]}, SegmentFilter(file_ids=())),
    ({"kind": "video"}, SegmentFilter(kinds=(VIDEO,))),
    ({"kinds": ["video", "image"]}, SegmentFilter(kinds=(IMAGE, VIDEO))),
    ({"kinds": ["text", "document"]}, SegmentFilter(kinds=(DOCUMENT,))),
    ({"kind": "text", "kinds": ["document", "image"]}, SegmentFilter(kinds=(DOCUMENT,))),
    ({"date": "last_30_days"}, SegmentFilter(created_s=named_range("last_30_days", NOW_S))),
    ({"date_range": "yesterday"}, SegmentFilter(created_s=named_range("yesterday", NOW_S))),
    ({"date": {"after": 5, "before": 7.5}}, SegmentFilter(created_s=Range(gte=5, lt=7.5))),
    ({"date": {"after": "1970-01-02", "before": None}}, SegmentFilter(created_s=Range(gte=86_400))),
    ({"date": {"before": "1970-01-01T01:00:00+01:00"}}, SegmentFilter(created_s=Range(lt=0))),
    (
        {"date": {"after": 5, "before": 9}, "date_range": {"after": 6, "before": 10}},
        SegmentFilter(created_s=Range(gte=6, lt=9)),
    ),
    ({"duration_s": {"gte": 1, "lt": 2.5}}, SegmentFilter(duration_s=Range(gte=1, lt=2.5))),
    ({"duration_s": {"gt": 1, "lte": 2}}, SegmentFilter(duration_s=Range(gt=1, lte=2))),
    ({"duration_s": {"gte": 1, "lte": 1}}, SegmentFilter(duration_s=Range(gte=1, lte=1))),
    ({"metadata": {}}, SegmentFilter()),
    (
        {"metadata": {"album": "summer", "year": [2024, 2025], "rating": {"gte": 3}, "public": True}},
        SegmentFilter(
            equal=(("album", ("summer",)), ("year", (2024, 2025)), ("public", (True,))),
            ranges=(("rating", Range(gte=3)),),
        ),
    ),
    ({"metadata": {"n": 2**63}}, SegmentFilter(equal=(("n", (2.0**63,)),))),
]


@pytest.mark.parametrize(("filters", "expected"), TAKEN, ids=[str(row[0])[:70] for row in TAKEN])
def test_what_is_taken(filters: dict[str, object], expected: SegmentFilter) -> None:
    assert read(filters) == expected
    assert SCHEMA.is_valid(filters)


def test_true_and_one_are_different_values() -> None:
    ((_, values),) = read({"metadata": {"a": [1, True, 1.5, "1"]}}).equal
    assert [type(value) for value in values] == [int, bool, float, str]


LIMITS: list[tuple[object, str]] = [
    ({"date": {"after": 7, "before": 5}}, "filters.date"),
    ({"date": {"after": "2024-01-02", "before": "2024-01-02T00:00:00Z"}}, "filters.date"),
    ({"date_range": {"after": 7, "before": 7}}, "filters.date_range"),
    ({"duration_s": {"gte": 2, "lte": 1}}, "filters.duration_s"),
    ({"duration_s": {"gt": 2, "lte": 2}}, "filters.duration_s"),
    ({"metadata": {"a": {"gte": 2, "lt": 2}}}, "filters.metadata.a"),
    ({"date": {"after": "2024-01-01T00:00:00+00:00" + " " * 64}}, "filters.date.after"),
]
"""Refused for what a schema cannot say, or does not."""

BAD: list[tuple[object, str]] = [
    (5, "filters"),
    ([], "filters"),
    ({"knid": "image"}, "filters"),
    ({"tenant": "other"}, "filters"),
    ({"file_id": ""}, "filters.file_id"),
    ({"file_id": "x" * 257}, "filters.file_id"),
    ({"file_id": 5}, "filters.file_id"),
    ({"file_ids": []}, "filters.file_ids"),
    ({"file_ids": "a"}, "filters.file_ids"),
    ({"file_ids": ["a", 5]}, "filters.file_ids.1"),
    ({"file_ids": ["a\0"]}, "filters.file_ids.0"),
    ({"file_ids": ["a"] * (MOST_FILES + 1)}, "filters.file_ids"),
    ({"kind": "picture"}, "filters.kind"),
    ({"kinds": []}, "filters.kinds"),
    ({"kinds": ["image", "picture"]}, "filters.kinds.1"),
    ({"kinds": ["image"] * 17}, "filters.kinds"),
    ({"date": 5}, "filters.date"),
    ({"date": ["today"]}, "filters.date"),
    ({"date": {}}, "filters.date"),
    ({"date": {"after": None}}, "filters.date"),
    ({"date": {"since": 5}}, "filters.date"),
    ({"date": "tomorrow"}, "filters.date"),
    ({"date": "last_0_days"}, "filters.date"),
    ({"date": {"after": "yesterday"}}, "filters.date.after"),
    ({"date": {"after": True}}, "filters.date.after"),
    ({"date": {"after": 1e300}}, "filters.date.after"),
    ({"date": {"before": "2024-02-30"}}, "filters.date.before"),
    ({"duration_s": 5}, "filters.duration_s"),
    ({"duration_s": {}}, "filters.duration_s"),
    ({"duration_s": {"min": 5}}, "filters.duration_s"),
    ({"duration_s": {"gte": "5"}}, "filters.duration_s.gte"),
    ({"duration_s": {"gte": True}}, "filters.duration_s.gte"),
    ({"metadata": "a"}, "filters.metadata"),
    ({"metadata": {"": 1}}, "filters.metadata"),
    ({"metadata": {"x" * 257: 1}}, "filters.metadata"),
    ({"metadata": {"a\0": 1}}, "filters.metadata"),
    ({"metadata": {str(key): 1 for key in range(MOST_KEYS + 1)}}, "filters.metadata"),
    ({"metadata": {"a": None}}, "filters.metadata.a"),
    ({"metadata": {"a": []}}, "filters.metadata.a"),
    ({"metadata": {"a": list(range(MOST_VALUES + 1))}}, "filters.metadata.a"),
    ({"metadata": {"a": [1, None]}}, "filters.metadata.a.1"),
    ({"metadata": {"a": [[1]]}}, "filters.metadata.a.0"),
    ({"metadata": {"a": "x" * 1025}}, "filters.metadata.a"),
    ({"metadata": {"a": "x\0"}}, "filters.metadata.a"),
    ({"metadata": {"a": {}}}, "filters.metadata.a"),
    ({"metadata": {"a": {"eq": 1}}}, "filters.metadata.a"),
    ({"metadata": {"a": {"gte": "1"}}}, "filters.metadata.a.gte"),
]


@pytest.mark.parametrize(("filters", "param"), BAD + LIMITS, ids=[str(row[0])[:70] for row in BAD + LIMITS])
def test_what_is_refused_is_named(filters: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as error:
        read(filters)
    assert error.value.param == param
    assert error.value.code == "invalid_request"
    assert len(error.value.message) < 400


@pytest.mark.parametrize("filters", [row[0] for row in BAD], ids=[str(row[0])[:70] for row in BAD])
def test_what_is_refused_does_not_match_the_schema(filters: object) -> None:
    assert not SCHEMA.is_valid(filters)


def test_a_misspelt_filter_names_those_there_are() -> None:
    with pytest.raises(InvalidRequest) as error:
        read({"kinsd": ["image"]})
    assert all(name in error.value.message for name in Filters.model_fields)
    assert "kinsd" not in error.value.message


@pytest.mark.parametrize(
    ("kinds", "names", "expected"),
    [
        ((), None, SegmentFilter()),
        ((IMAGE,), None, SegmentFilter(kinds=(IMAGE,))),
        ((), ["text", "audio"], SegmentFilter(kinds=(AUDIO, DOCUMENT))),
        ((IMAGE, VIDEO), ["video", "audio"], SegmentFilter(kinds=(VIDEO,))),
        ((IMAGE,), ["audio"], SegmentFilter(kinds=(IMAGE,), file_ids=())),
    ],
)
def test_kinds_that_exclude_each_other_leave_no_file(
    kinds: tuple[MediaKind, ...], names: list[str] | None, expected: SegmentFilter
) -> None:
    assert with_kinds(SegmentFilter(kinds=kinds), names) == expected


# --- properties --------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
KEYS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=10)


@given(st.dictionaries(KEYS, st.lists(SCALARS, min_size=1, max_size=4), max_size=5))
def test_metadata_mean_what_they_say(metadata: dict[str, list[Scalar]]) -> None:
    found = read({"metadata": metadata})
    assert {key: list(values) for key, values in found.equal} == metadata
    assert [list(map(type, values)) for _, values in found.equal] == [
        list(map(type, values)) for values in metadata.values()
    ]


@given(
    st.floats(-1e9, 1e9),
    st.floats(0.001, 1e9),
    st.sampled_from(["gt", "gte"]),
    st.sampled_from(["lt", "lte"]),
)
def test_ranges_are_taken_as_they_were_sent(low: float, width: float, lower: str, upper: str) -> None:
    bounds = {lower: low, upper: low + width + 1}
    assert read({"duration_s": bounds}).duration_s == Range(**bounds)
    assert read({"metadata": {"a": bounds}}).ranges == (("a", Range(**bounds)),)


@given(st.datetimes(timezones=st.timezones()))
def test_dates_mean_the_same_as_seconds(moment: object) -> None:
    text = moment.isoformat()  # type: ignore[attr-defined]
    assert read({"date": {"after": text}}) == read({"date": {"after": parse_moment(text)}})


@given(st.sampled_from(["date", "date_range"]), st.sampled_from(["today", "last_week", "last_3_days"]))
def test_both_names_of_dates_mean_the_same(name: str, value: str) -> None:
    assert read({name: value}) == read({"date": value, "date_range": value})
