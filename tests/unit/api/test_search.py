"""Search in uploaded files, over a library whose answers are written down beforehand."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import jsonschema_rs
import pytest
from fastapi import FastAPI

from multimodal.api.search_schemas import QUERY_CHARACTERS, SearchBody
from multimodal.config import AppArgs, Limits, SearchArgs
from multimodal.errors import FileUnknown
from multimodal.library.records import QueryItem, SearchAnswer, SearchRequest, SearchResult
from multimodal.retrieval.dates import named_range
from multimodal.retrieval.types import Fusion, Hit, Range, Segment, SegmentFilter, SegmentPart
from multimodal.types import Emit, FileReference, MediaKind, MediaSource, RequestContext, StageEvent
from tests.unit.api.fakes import (
    NOW_S,
    Caller,
    FakeService,
    audio_part,
    call,
    data_url,
    image_part,
    video_part,
)
from tests.unit.api.library_fakes import CREATED_S, FakeLibrary, file_id

URL = "/v1/search"
WORDS = {"type": "text", "content": "sunset over mountains"}
UPLOADED = {"type": "file", "file_id": "file-1"}


@pytest.fixture
def args() -> AppArgs:
    limits = Limits(media_parts=3, image_bytes=1000, audio_bytes=1000)
    return AppArgs(limits=limits, search=SearchArgs(max_top_k=20, max_offset=30, max_queries=4))


async def asked(client: httpx.AsyncClient, service: FakeService, **fields: object) -> SearchRequest:
    """What the library is asked for this body."""
    response = await client.post(URL, json={"query": "red"} | fields)
    assert response.status_code == 200, response.text
    return service.library.searches[-1]


# --- the query ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("a dog", "a dog"),
        (WORDS, "sunset over mountains"),
        ({"type": "text", "text": "a dog"}, "a dog"),
        ({"type": "text", "text": "a cat", "content": "a dog", "other": 1}, "a dog"),
        (UPLOADED, FileReference(file_id="file-1", param="query")),
        ({"type": "file", "file": {"file_id": "file-1"}}, FileReference(file_id="file-1", param="query")),
        (
            image_part(b"1"),
            MediaSource(kind=MediaKind.IMAGE, data=b"1", param="query", declared_type="image/png"),
        ),
        (audio_part(b"2"), MediaSource(kind=MediaKind.AUDIO, data=b"2", param="query", declared_type="wav")),
        (
            video_part(b"3", max_frames=4),
            MediaSource(
                kind=MediaKind.VIDEO, data=b"3", param="query", declared_type="video/mp4", max_frames=4
            ),
        ),
        (
            {"type": "file", "file": {"file_data": data_url(b"%PDF-1.7\n", "application/pdf")}},
            MediaSource(
                kind=MediaKind.DOCUMENT, data=b"%PDF-1.7\n", param="query", declared_type="application/pdf"
            ),
        ),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_query_is_a_text_a_part_or_an_uploaded_file(
    client: httpx.AsyncClient, service: FakeService, query: object, expected: object
) -> None:
    request = await asked(client, service, query=query)
    assert request.queries == (QueryItem(query=expected, param="query", weight=1.0),)  # type: ignore[arg-type]
    assert service.library.contexts[0].tenant == "local"


async def test_a_mixture_keeps_its_order_its_places_and_its_weights(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    query = ["a dog", WORDS | {"weight": 0.5}, image_part(b"1") | {"weight": -0.25}, UPLOADED | {"weight": 1}]
    request = await asked(client, service, query=query)
    assert request.queries == (
        QueryItem(query="a dog", param="query.0", weight=1.0),
        QueryItem(query="sunset over mountains", param="query.1", weight=0.5),
        QueryItem(
            query=MediaSource(kind=MediaKind.IMAGE, data=b"1", param="query.2", declared_type="image/png"),
            param="query.2",
            weight=-0.25,
        ),
        QueryItem(query=FileReference(file_id="file-1", param="query.3"), param="query.3", weight=1.0),
    )


# --- options -----------------------------------------------------------------------------------


async def test_what_is_left_out_and_what_is_null_have_defaults(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    expected = SearchRequest(queries=(QueryItem(query="red", param="query"),))
    assert await asked(client, service) == expected
    assert await asked(
        client, service, **{name: None for name in SearchBody.model_fields if name != "query"}
    ) == (expected)
    assert await asked(client, service, weights={"dense": None}, filters={}, unknown=1) == expected


async def test_options_reach_the_library(client: httpx.AsyncClient, service: FakeService) -> None:
    request = await asked(
        client,
        service,
        search_modalities=["image", "text"],
        top_k=5.0,
        offset=10,
        score_threshold=0.25,
        fusion="weighted",
        weights={"dense": 0.5, "lexical": 2},
        dedupe=True,
        filters={"date": "last_30_days", "duration_s": {"lt": 60}, "kinds": ["image", "video"]},
    )
    assert request == SearchRequest(
        queries=(QueryItem(query="red", param="query"),),
        filter=SegmentFilter(
            kinds=(MediaKind.IMAGE,),
            created_s=named_range("last_30_days", NOW_S),
            duration_s=Range(lt=60),
        ),
        top_k=5,
        offset=10,
        score_threshold=0.25,
        fusion=Fusion.WEIGHTED,
        dense_weight=0.5,
        lexical_weight=2.0,
        dedupe=True,
    )


async def test_kinds_that_exclude_each_other_find_nothing_rather_than_everything(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    request = await asked(client, service, search_modalities=["audio"], filters={"kind": "image"})
    assert request.filter.file_ids == ()


BAD: list[tuple[dict[str, object], str, str]] = [
    ({"query": None}, "invalid_request", "query"),
    ({"query": 5}, "invalid_request", "query"),
    ({"query": ""}, "invalid_request", "query"),
    ({"query": " \n"}, "invalid_request", "query"),
    ({"query": "a\0"}, "invalid_request", "query"),
    ({"query": "x" * (QUERY_CHARACTERS + 1)}, "invalid_request", "query"),
    ({"query": []}, "invalid_request", "query"),
    ({"query": ["a", 5]}, "invalid_request", "query.1"),
    ({"query": ["a", ["b"]]}, "invalid_request", "query.1"),
    ({"query": {}}, "unknown_part_type", "query"),
    ({"query": {"type": "image"}}, "unknown_part_type", "query"),
    ({"query": {"type": "text"}}, "invalid_request", "query"),
    ({"query": {"type": "text", "content": " "}}, "invalid_request", "query.content"),
    ({"query": [{"type": "text", "text": 5}]}, "invalid_request", "query.0.text"),
    ({"query": {"type": "file"}}, "invalid_request", "query"),
    ({"query": {"type": "file", "file_id": ""}}, "invalid_request", "query.file_id"),
    ({"query": {"type": "file", "file_id": "x" * 257}}, "invalid_request", "query.file_id"),
    ({"query": {"type": "image_url"}}, "invalid_request", "query.image_url"),
    (
        {"query": ["a", {"type": "image_url", "image_url": {"url": "a"}}]},
        "invalid_media",
        "query.1.image_url.url",
    ),
    ({"query": video_part(max_frames=65)}, "invalid_request", "query.video_url.max_frames"),
    ({"query": WORDS | {"weight": 0}}, "invalid_request", "query.weight"),
    ({"query": [WORDS | {"weight": 1.5}]}, "invalid_request", "query.0.weight"),
    ({"query": [WORDS | {"weight": "1"}]}, "invalid_request", "query.0.weight"),
    ({"query": ["a"] * 5}, "invalid_request", "query"),
    ({"search_modalities": []}, "invalid_request", "search_modalities"),
    ({"search_modalities": "image"}, "invalid_request", "search_modalities"),
    ({"search_modalities": ["image", "pictures"]}, "invalid_request", "search_modalities.1"),
    ({"top_k": 0}, "invalid_request", "top_k"),
    ({"top_k": 21}, "invalid_request", "top_k"),
    ({"top_k": 1.5}, "invalid_request", "top_k"),
    ({"offset": -1}, "invalid_request", "offset"),
    ({"offset": 31}, "invalid_request", "offset"),
    ({"score_threshold": 1.1}, "invalid_request", "score_threshold"),
    ({"fusion": "max"}, "invalid_request", "fusion"),
    ({"weights": {"dense": -1}}, "invalid_request", "weights.dense"),
    ({"weights": {"lexical": 101}}, "invalid_request", "weights.lexical"),
    ({"dedupe": "yes"}, "invalid_request", "dedupe"),
    ({"filters": {"tenant": "other"}}, "invalid_request", "filters"),
    ({"filters": {"date": "tomorrow"}}, "invalid_request", "filters.date"),
    ({"filters": {"duration_s": {"gt": 5, "lt": 5}}}, "invalid_request", "filters.duration_s"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD, ids=[str(row[0])[:60] for row in BAD])
async def test_bad_field_is_named(
    client: httpx.AsyncClient, service: FakeService, fields: dict[str, object], code: str, param: str
) -> None:
    response = await client.post(URL, json={"query": "red"} | fields)

    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert error["message"].endswith(".")
    assert not service.library.searches


SCHEMA = jsonschema_rs.Draft202012Validator(SearchBody.model_json_schema(), validate_formats=True)
BEYOND_SCHEMA = ("max_frames", "'top_k': 21", "'offset': 31", "['a', 'a'", "'url': 'a'", "'gt': 5")
"""Limits of the server, and what a schema cannot say."""


@pytest.mark.parametrize("fields", [row[0] for row in BAD], ids=[str(row[0])[:60] for row in BAD])
def test_what_is_refused_does_not_match_the_schema(fields: dict[str, object]) -> None:
    expected = any(limit in str(fields) for limit in BEYOND_SCHEMA)
    assert SCHEMA.is_valid({"query": "red"} | fields) == expected


async def test_media_over_the_limits(client: httpx.AsyncClient) -> None:
    for query, place in (
        (image_part(b"x" * 1001), "query.image_url.url"),
        ([image_part(), UPLOADED, UPLOADED, audio_part()], "query"),
    ):
        response = await client.post(URL, json={"query": query})
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (413, "media_too_large", place)


async def test_missing_query(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={})
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "query is required."


async def test_an_error_of_the_search_is_answered_as_it_is(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.library.error = FileUnknown.of("file-1", "query")
    response = await client.post(URL, json={"query": UPLOADED})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (404, "file_not_found", "query")


# --- the answer ----------------------------------------------------------------------------------


def result(service: FakeService, number: int, hit: Hit, **fields: object) -> SearchResult:
    files = service.library.files
    file = files.change(files.put(b"%d" % number).id, **fields)
    assert file.id == file_id(number)
    return SearchResult(hit=replace(hit, segment=replace(hit.segment, file_id=file.id)), file=file)


SCENE = Segment(
    id="s-1",
    tenant="local",
    file_id="",
    sha256="0" * 64,
    kind=MediaKind.VIDEO,
    part=SegmentPart.PICTURE,
    ordinal=3,
    text="TOTAL 42 EUR",
    start_s=12.5,
    end_s=14.0,
    frames_s=(12.5, 13.25),
    thumbnail=True,
    metadata={"old": 1},
)
CHUNK = Segment(
    id="s-2",
    tenant="local",
    file_id="",
    sha256="1" * 64,
    kind=MediaKind.DOCUMENT,
    part=SegmentPart.TEXT,
    ordinal=0,
    text=f"{'filler ' * 100}a red apple{' filler' * 100}",
    page=3,
    box=(0.1, 0.2, 1 / 3, 0.4),
)


async def test_hits_come_with_all_that_is_known_of_them(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    scene = Hit(segment=SCENE, score=1 / 61, similarity=0.512345678, duplicates=("file-9",))
    results = (
        result(service, 1, scene, filename="trip.mp4", kind=MediaKind.VIDEO, metadata={"album": "summer"}),
        result(service, 2, Hit(segment=CHUNK, score=0.01, similarity=None, lexical=2.5)),
    )
    service.library.answer = SearchAnswer(results=results, more=True, tokens=7)
    response = await client.post(URL, json={"query": ["sunset", {"type": "text", "text": "red apple"}]})

    body = response.json()
    first, second = body.pop("results")
    assert body == {"object": "list", "has_more": True, "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    assert first == {
        "id": "s-1",
        "file_id": file_id(1),
        "filename": "trip.mp4",
        "type": "video",
        "part": "picture",
        "url": f"/v1/files/{file_id(1)}/content#t=12.5,14",
        "thumbnail_url": f"/v1/files/{file_id(1)}/thumbnails/3",
        "similarity_score": 0.5123,
        "score": 0.016393,
        "start_s": 12.5,
        "end_s": 14.0,
        "matched_frames": [12.5, 13.25],
        "page": None,
        "box": None,
        "snippet": "TOTAL 42 EUR",
        "metadata": {"album": "summer"},
        "created_at": CREATED_S,
        "duplicates": ["file-9"],
    }
    assert "a red apple" in second.pop("snippet")
    assert second == {
        "id": "s-2",
        "file_id": file_id(2),
        "filename": "notes.txt",
        "type": "document",
        "part": "text",
        "url": f"/v1/files/{file_id(2)}/content#page=3",
        "thumbnail_url": None,
        "similarity_score": None,
        "score": 0.01,
        "start_s": None,
        "end_s": None,
        "matched_frames": None,
        "page": 3,
        "box": [0.1, 0.2, 0.3333, 0.4],
        "metadata": {},
        "created_at": CREATED_S + 1,
        "duplicates": [],
    }


async def test_metadata_keep_their_types(client: httpx.AsyncClient, service: FakeService) -> None:
    metadata = {"text": "1", "whole": 1, "number": 1.5, "yes": True}
    found = result(service, 1, Hit(segment=CHUNK, score=1, similarity=1), metadata=metadata)
    service.library.answer = SearchAnswer(results=(found,), more=False, tokens=0)
    (answered,) = (await client.post(URL, json={"query": "a"})).json()["results"]
    assert json.dumps(answered["metadata"]) == json.dumps(metadata)


@pytest.mark.parametrize(("similarity", "shown"), [(1.0000001, 1.0), (1.5, 1.0), (-1.0000001, -1.0)])
async def test_similarities_beyond_their_range_are_cut(
    client: httpx.AsyncClient, service: FakeService, similarity: float, shown: float
) -> None:
    found = result(service, 1, Hit(segment=CHUNK, score=1, similarity=similarity))
    service.library.answer = SearchAnswer(results=(found,), more=False, tokens=0)
    (answered,) = (await client.post(URL, json={"query": "a"})).json()["results"]
    assert answered["similarity_score"] == shown


async def test_nothing_found_is_an_empty_list(client: httpx.AsyncClient) -> None:
    response = await client.post(URL, json={"query": "a"})
    assert response.json() == {
        "object": "list",
        "results": [],
        "has_more": False,
        "usage": {"prompt_tokens": 0, "total_tokens": 0},
    }


class Slow(FakeLibrary):
    """Tells of its stages, and waits for ever where it is asked to."""

    began = False
    gone = False

    async def search(self, ctx: RequestContext, request: SearchRequest, emit: Emit) -> SearchAnswer:
        self.began = True
        emit(StageEvent(stage="retrieve"))
        try:
            if request.dedupe:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.gone = True
            raise
        emit(StageEvent(stage="retrieve", seconds=0.5))
        return self.answer


async def test_the_stage_of_the_index_is_counted(client: httpx.AsyncClient, service: FakeService) -> None:
    service.library = Slow()
    await client.post(URL, json={"query": "a"})
    metrics = (await client.get("/metrics")).text
    (series,) = [line for line in metrics.splitlines() if line.startswith("multimodal_stage_seconds_count")]
    assert 'stage="retrieve"' in series
    assert series.endswith(" 1.0")


async def test_a_client_that_goes_away_ends_the_search(app: FastAPI, service: FakeService) -> None:
    service.library = library = Slow()
    caller = Caller(app, URL, {"query": "a", "dedupe": True})
    while not library.began:
        await asyncio.sleep(0)
    caller.go_away()
    await asyncio.wait_for(caller.task, 30)
    assert library.gone


async def test_a_body_that_is_no_json(app: FastAPI) -> None:
    answer = await call(app, URL, b"{")
    assert (answer.status, answer.error["code"]) == (400, "invalid_json")
