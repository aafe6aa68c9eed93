"""Search over fake stages: parts of a query, mixtures, uploaded files, and hits joined with their files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from multimodal.config import AppArgs
from multimodal.errors import (
    DeadlineExceeded,
    FileUnknown,
    InvalidMedia,
    InvalidRequest,
    MultimodalError,
    StageUnavailable,
    UnsupportedMedia,
)
from multimodal.library.records import FileStatus, Retrieval, SearchAnswer, SearchRequest
from multimodal.retrieval.searcher import Searcher
from multimodal.retrieval.types import (
    Found,
    Fusion,
    Range,
    Search,
    SegmentFilter,
    SpaceQuery,
    Vector,
    VectorName,
)
from multimodal.types import (
    MediaKind,
    MediaSource,
    StageEvent,
    Transcript,
    TranscriptPart,
    TranscriptSegment,
)
from multimodal.understanding import Features
from tests.encoder_fakes import vector_of
from tests.fakes import scene, seen, spoken
from tests.unit.api.library_fakes import FakeFiles, file_id
from tests.unit.retrieval.searching import (
    Graph,
    asked,
    context,
    document,
    hit,
    ignore,
    reference,
    segment,
    source,
)

RED, BLUE, DOG = vector_of("red"), vector_of("blue"), vector_of("dog")
PICTURE, WORDS = VectorName.PICTURE, VectorName.WORDS
IMAGE, AUDIO, VIDEO = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO


def graph(**changes: object) -> Graph:
    """Pictures are red, texts have at most ten words."""
    stages = Graph(picture=RED, scenes=(scene(RED, 2),), text_limit=12)
    for name, value in changes.items():
        assert hasattr(stages, name)
        setattr(stages, name, value)
    return stages


def args(**image: object) -> AppArgs:
    return AppArgs.model_validate({"image": image, "text": {"max_tokens": 12}})


OWN = args(space="own")


def library(*fields: dict[str, object]) -> FakeFiles:
    """One processed picture for each."""
    files = FakeFiles()
    for number, changes in enumerate(fields):
        record = files.put(b"%d" % number, kind=IMAGE, status=FileStatus.PROCESSED)
        files.change(record.id, **changes)
    return files


async def search(
    stages: Graph, request: SearchRequest, files: FakeFiles | None = None, settings: AppArgs | None = None
) -> SearchAnswer:
    searcher = Searcher(stages, settings or args(), files or FakeFiles())
    return await searcher.search(context(), request, ignore)


async def planned(stages: Graph, request: SearchRequest, **how: object) -> Search:
    await search(stages, request, **how)  # type: ignore[arg-type]
    return stages.searches[-1]


def near(vector: Vector) -> object:
    unit = vector / np.linalg.norm(vector)
    return pytest.approx(unit, abs=1e-6)


def only(search: Search) -> SpaceQuery:
    (space,) = search.spaces
    return space


# --- one part --------------------------------------------------------------------------------------


async def test_a_text_is_looked_for_by_its_vector_in_pictures_and_words_and_by_its_words() -> None:
    made = await planned(graph(), asked("a dog"))
    assert only(made).vector == near(vector_of("a dog"))
    assert only(made).names == (PICTURE, WORDS)
    assert (made.tenant, made.words, made.words_weight) == ("local", "a dog", 1.0)


async def test_without_an_image_tower_only_words_are_compared() -> None:
    settings = AppArgs.model_validate({"image": {"model": None}, "vision": None})
    assert only(await planned(graph(), asked("a dog"), settings=settings)).names == (WORDS,)


async def test_everything_that_was_asked_for_reaches_the_index() -> None:
    where = SegmentFilter(kinds=(IMAGE,), created_s=Range(gte=5.0), not_file_ids=("x",))
    request = replace(
        asked("a dog"),
        filter=where,
        top_k=7,
        offset=21,
        score_threshold=0.25,
        fusion=Fusion.WEIGHTED,
        dense_weight=2.0,
        lexical_weight=0.5,
        dedupe=True,
    )
    made = await planned(graph(), request)
    expected = Search(
        tenant="local",
        spaces=made.spaces,
        words="a dog",
        words_weight=0.5,
        filter=where,
        limit=7,
        offset=21,
        min_similarity=0.25,
        fusion=Fusion.WEIGHTED,
        fold_duplicates=True,
    )
    assert made == expected
    assert only(made).weight == 2.0


async def test_a_long_text_is_the_mean_of_its_pieces_by_their_tokens() -> None:
    made = await planned(graph(), asked("a b c d e f g h i j k l"))
    pieces = [vector_of("a b c d e f"), vector_of("g h i j k l")]
    assert only(made).vector == near(np.sum(pieces, axis=0))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (IMAGE, RED),
        (VIDEO, 3 * RED + BLUE),
        (AUDIO, vector_of("a green tree")),
        (MediaKind.DOCUMENT, vector_of("page-of-cat")),
    ],
)
async def test_media_are_looked_for_by_their_vector_and_not_by_words(
    kind: MediaKind, expected: Vector
) -> None:
    scenes = (scene(RED, 3), scene(BLUE, 1, 3.0))
    made = await planned(graph(transcript=spoken("a green tree"), scenes=scenes), asked(source(kind)))
    assert only(made).vector == near(expected)
    assert made.words == ""


async def test_tokens_of_texts_and_transcripts_are_counted() -> None:
    request = asked("two words", source(IMAGE, 1), source(AUDIO, 2))
    found = await search(graph(transcript=spoken("three more words")), request)
    assert found.tokens == (2 + 2) + (3 + 2)


# --- mixtures --------------------------------------------------------------------------------------


async def test_a_mixture_is_one_vector_whose_order_is_that_of_the_weighted_mean_of_cosines() -> None:
    request = asked("blue", source(IMAGE, 1), "dog", weights=[0.5, 1.0, -0.25])
    made = await planned(graph(), request)
    assert only(made).vector == near(0.5 * BLUE + RED - 0.25 * DOG)

    segments = [
        vector_of(f"{first} {second}") for first in ("red", "cat") for second in ("blue", "dog", "tree")
    ]
    means = [0.5 * BLUE @ one + RED @ one - 0.25 * DOG @ one for one in segments]
    cosines = [only(made).vector @ one for one in segments]
    assert np.argsort(cosines).tolist() == np.argsort(means).tolist()


async def test_only_wanted_texts_are_looked_for_by_their_words() -> None:
    made = await planned(graph(), asked("red", "dog", "blue", weights=[1.0, -0.5, 0.25]))
    assert made.words == "red blue"


async def test_pictures_and_texts_of_different_spaces_are_two_queries() -> None:
    request = asked("blue", source(IMAGE, 1), source(AUDIO, 2), weights=[0.5, 1.0, 1.0])
    made = await planned(graph(transcript=spoken("dog")), request, settings=OWN)
    assert [(one.names, one.weight) for one in made.spaces] == [((PICTURE,), 1 / 1.5), ((WORDS,), 1.0)]
    assert made.spaces[0].vector == near(RED)
    assert made.spaces[1].vector == near(0.5 * BLUE + DOG)


@pytest.mark.parametrize("only_part", [source(IMAGE), "red"])
async def test_one_space_alone_has_the_whole_weight(only_part: str | MediaSource) -> None:
    request = replace(asked(only_part, weights=[0.25]), dense_weight=3.0)
    assert only(await planned(graph(), request, settings=OWN)).weight == 3.0


async def test_in_a_space_of_its_own_nothing_is_only_avoided() -> None:
    request = asked("blue", source(IMAGE, 1), weights=[1.0, -0.5])
    with pytest.raises(InvalidRequest, match="negative weight") as error:
        await search(graph(), request, settings=OWN)
    assert error.value.param == "query.1"


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        (asked("red", "red", weights=[0.5, -0.5]), "query"),
        (asked("red", source(IMAGE, 1), weights=[1.0, -1.0]), "query"),
        (asked("red", weights=[-1.0]), "query"),
        (replace(asked("red"), dense_weight=0.0, lexical_weight=0.0), "weights"),
        (replace(asked("red"), dense_weight=0.0, score_threshold=0.5), "score_threshold"),
        (replace(asked("red", source(IMAGE, 1)), dense_weight=0.0), "query.1"),
        (replace(asked("red", "blue", weights=[1.0, -0.5]), dense_weight=0.0), "query.1"),
    ],
)
async def test_weights_that_leave_nothing_to_look_for_are_refused(
    request_: SearchRequest, param: str
) -> None:
    stages = graph()
    with pytest.raises(InvalidRequest) as error:
        await search(stages, request_)
    assert error.value.param == param
    assert not stages.searches


async def test_a_tower_of_another_length_is_of_another_space() -> None:
    with pytest.raises(InvalidRequest, match=r"image\.space") as error:
        await search(graph(picture=np.full(5, 5**-0.5, np.float32)), asked("red", source(IMAGE, 1)))
    assert error.value.param == "query.1"


async def test_words_alone_need_no_vector() -> None:
    stages = graph()
    made = await planned(stages, replace(asked("red", "dog"), dense_weight=0.0))
    assert (made.spaces, made.words, stages.embedded) == ((), "red dog", [])


async def test_words_are_not_looked_for_where_they_have_no_weight() -> None:
    assert (await planned(graph(), replace(asked("red"), lexical_weight=0.0))).words == ""


# --- uploaded files ----------------------------------------------------------------------------------


async def test_an_uploaded_file_is_looked_for_by_what_is_stored_and_not_found_itself() -> None:
    stages = graph(stored={file_id(1): [segment(file_id(1), picture=BLUE, words=DOG, text="dog")]})
    request = replace(asked(reference(file_id(1))), filter=SegmentFilter(not_file_ids=("x", file_id(1))))
    made = await planned(stages, request, files=library({}))
    assert only(made).vector == near(BLUE)
    assert made.filter.not_file_ids == ("x", file_id(1))
    assert stages.calls == [f"segments_of {file_id(1)}", "search"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(VIDEO, 3 * RED + BLUE), (AUDIO, 2 * DOG + BLUE), (MediaKind.DOCUMENT, 2 * DOG + BLUE)],
)
async def test_the_vectors_that_count_are_those_of_the_kind_of_file(
    kind: MediaKind, expected: Vector
) -> None:
    name = file_id(1)
    stored = [
        segment(name, 0, picture=RED, frames_s=(0.0, 1.0, 2.0)),
        segment(name, 1, picture=BLUE, frames_s=(3.0,)),
        segment(name, 2, words=DOG, text="two words"),
        segment(name, 3, words=BLUE, text="one"),
    ]
    made = await planned(graph(stored={name: stored}), asked(reference(name)), files=library({"kind": kind}))
    assert only(made).vector == near(expected)


@pytest.mark.parametrize(("kind", "vectors"), [(VIDEO, {"words": DOG}), (AUDIO, {"picture": DOG})])
async def test_what_a_file_does_not_have_is_replaced_by_what_it_has(
    kind: MediaKind, vectors: dict[str, Vector]
) -> None:
    stored = {file_id(1): [segment(file_id(1), **vectors)]}  # type: ignore[arg-type]
    request = asked(reference(file_id(1)))
    assert only(await planned(graph(stored=stored), request, files=library({"kind": kind}))).vector == near(
        DOG
    )


async def test_in_spaces_of_their_own_both_vectors_of_a_file_count() -> None:
    stored = {file_id(1): [segment(file_id(1), picture=RED, words=DOG)]}
    made = await planned(graph(stored=stored), asked(reference(file_id(1))), files=library({}), settings=OWN)
    assert [(one.names, one.weight) for one in made.spaces] == [((PICTURE,), 1.0), ((WORDS,), 1.0)]
    assert made.spaces[0].vector == near(RED)
    assert made.spaces[1].vector == near(DOG)


@pytest.mark.parametrize(
    ("fields", "kind", "match"),
    [
        ({"status": FileStatus.UPLOADED}, InvalidRequest, "not processed yet"),
        ({"status": FileStatus.PROCESSING}, InvalidRequest, "not processed yet"),
        ({"status": FileStatus.ERROR, "error_code": "invalid_media"}, InvalidRequest, "invalid_media"),
        ({"kind": None}, UnsupportedMedia, "none that can be searched with"),
        ({}, InvalidRequest, "has a vector"),
        ({"tenant": "other"}, FileUnknown, "There is no file"),
    ],
)
async def test_a_file_that_cannot_be_searched_with_is_named_and_says_why(
    fields: dict[str, object], kind: type[MultimodalError], match: str
) -> None:
    stages = graph(stored={file_id(1): [segment(file_id(1))]})
    with pytest.raises(kind, match=match) as error:
        await search(stages, asked("red", reference(file_id(1), 1)), library(fields))
    assert type(error.value) is kind
    assert error.value.param == "query.1"


# --- what can go wrong -----------------------------------------------------------------------------


async def test_all_parts_are_encoded_at_the_same_time() -> None:
    names = {"encode_image", "transcribe", "watch", "embed_text", f"segments_of {file_id(1)}"}
    gate = asyncio.Event()
    stored = {file_id(1): [segment(file_id(1), picture=BLUE)]}
    stages = graph(gates=dict.fromkeys(names, gate), stored=stored)
    media = [source(kind, index) for index, kind in enumerate((IMAGE, AUDIO, VIDEO))]
    request = asked(*media, "a text", reference(file_id(1), 4))
    task = asyncio.ensure_future(search(stages, request, library({})))
    while not names <= set(stages.calls):
        await asyncio.sleep(0)
    gate.set()
    await task


async def test_the_first_failure_names_its_part_and_ends_the_others() -> None:
    stages = graph(gates={"transcribe": asyncio.Event()})
    broken = source(IMAGE, 2, b"bad picture")
    with pytest.raises(InvalidMedia) as error:
        await search(stages, asked("a text", source(AUDIO, 1), broken))
    assert error.value.param == "query.2"
    assert "transcribe" in stages.cancelled


@pytest.mark.parametrize(
    ("stages", "request_", "param"),
    [
        (graph(failures={"embed_text": [StageUnavailable("gone")]}), asked(source(IMAGE), "dog"), "query.1"),
        (
            graph(failures={f"segments_of {file_id(1)}": [StageUnavailable("gone")]}),
            asked("red", reference(file_id(1), 1)),
            "query.1",
        ),
        (graph(failures={"search": [StageUnavailable("gone")]}), asked("red"), None),
    ],
)
async def test_a_stage_that_is_gone_says_so(
    stages: Graph, request_: SearchRequest, param: str | None
) -> None:
    with pytest.raises(StageUnavailable) as error:
        await search(stages, request_, library({}))
    assert error.value.param == param


@pytest.mark.parametrize("query", [source(AUDIO), source(IMAGE)])
async def test_a_medium_without_a_vector_is_named(query: MediaSource) -> None:
    silent = Transcript(segments=(), language="en", duration_s=1.0)
    with pytest.raises(InvalidRequest, match="no vector") as error:
        await search(graph(picture=None, transcript=silent), asked(query))
    assert error.value.param == "query.0"


@pytest.mark.parametrize("stage", ["embed_text", "search"])
async def test_a_stage_that_never_ends_is_cut_off_at_the_deadline(stage: str) -> None:
    searcher = Searcher(graph(gates={stage: asyncio.Event()}), args(), FakeFiles())
    with pytest.raises(DeadlineExceeded):
        await searcher.search(context(0.05), asked("red"), ignore)


async def test_the_deadline_grows_with_the_length_of_sound() -> None:
    stages, ctx = graph(), context()
    recording = source(AUDIO, data=b"x" * 40_000)
    await Searcher(stages, args(), FakeFiles()).search(ctx, asked(recording), ignore)
    assert [round(one.deadline_s - ctx.deadline_s) for one in stages.contexts] == [10]


@pytest.mark.parametrize("failures", [{}, {"search": [StageUnavailable("gone")]}])
async def test_stages_are_told_that_of_the_index_last(failures: dict[str, list[Exception]]) -> None:
    events: list[StageEvent | TranscriptPart] = []
    searcher = Searcher(graph(failures=failures), args(), FakeFiles())
    work = searcher.search(context(), asked(source(IMAGE)), events.append)
    (outcome,) = await asyncio.gather(work, return_exceptions=True)
    assert isinstance(outcome, StageUnavailable if failures else SearchAnswer)
    told = [(one.stage, one.seconds is None) for one in events if isinstance(one, StageEvent)]
    assert told[-2:] == [("retrieve", True), ("retrieve", False)]
    assert [stage for stage, enters in told if enters] == ["load", "encode", "retrieve"]


# --- hits ------------------------------------------------------------------------------------------


def found(*file_ids: str, more: bool = False, duplicates: Sequence[str] = ()) -> Found:
    hits = tuple(hit(one, at, tuple(duplicates)) for at, one in enumerate(file_ids))
    return Found(hits=hits, more=more)


async def test_hits_come_in_their_order_with_their_files() -> None:
    files = library({"filename": "a.png"}, {"filename": "b.png"})
    stages = graph(answers=[found(file_id(2), file_id(1), file_id(2), more=True)])
    answer = await search(stages, asked("red"), files)
    assert [(one.hit.segment.ordinal, one.file.filename) for one in answer.results] == [
        (0, "b.png"),
        (1, "a.png"),
        (2, "b.png"),
    ]
    assert answer.more
    assert len(stages.searches) == 1


async def test_where_files_were_deleted_the_index_is_asked_again_without_them() -> None:
    stages = graph(answers=[found(file_id(9), file_id(1), more=True), found(file_id(1), file_id(2))])
    request = replace(asked("red"), filter=SegmentFilter(not_file_ids=("x",)), top_k=2, offset=2)
    answer = await search(stages, request, library({}, {}))
    assert [one.file.id for one in answer.results] == [file_id(1), file_id(2)]
    assert not answer.more
    first, second = stages.searches
    assert second == replace(first, filter=SegmentFilter(not_file_ids=("x", file_id(9))))


async def test_files_that_go_on_vanishing_are_dropped_in_the_end() -> None:
    stages = graph(answers=[found(file_id(8)), found(file_id(9), file_id(1), more=True)])
    answer = await search(stages, asked("red"), library({}))
    assert [one.file.id for one in answer.results] == [file_id(1)]
    assert answer.more
    assert len(stages.searches) == 2


async def test_folded_hits_name_only_files_that_exist() -> None:
    stages = graph(answers=[found(file_id(1), duplicates=[file_id(2), file_id(9)])])
    answer = await search(stages, asked("red"), library({}, {}))
    assert answer.results[0].hit.duplicates == (file_id(2),)


async def test_files_of_other_tenants_are_never_answered() -> None:
    stages = graph(answers=[found(file_id(1), file_id(2))])
    answer = await search(stages, asked("red"), library({"tenant": "other"}, {}))
    assert [one.file.id for one in answer.results] == [file_id(2)]


# --- answers that stand on files -----------------------------------------------------------------------


async def test_a_question_and_its_media_are_one_mixture() -> None:
    stages = graph(answers=[found(file_id(1))])
    searcher = Searcher(stages, args(), library({}))
    media: list[Features] = [seen(RED), spoken("dog"), document("blue", "tree")]
    results = await searcher.ground(context(), "which one?", media, Retrieval())
    assert [one.file.id for one in results] == [file_id(1)]
    (made,) = stages.searches
    parts = [RED, DOG, vector_of("blue tree"), vector_of("which one?")]
    assert only(made).vector == near(np.sum(parts, axis=0))
    assert (made.words, made.limit, made.min_similarity) == ("which one?", 4, args().search.relevance)
    assert made.with_vectors
    assert made.fold_duplicates


async def test_what_the_request_says_of_sources_holds() -> None:
    stages = graph()
    where = SegmentFilter(file_ids=("a",))
    retrieval = Retrieval(filter=where, top_k=2, min_similarity=0.0)
    await Searcher(stages, args(), FakeFiles()).ground(context(), "red", (), retrieval)
    (made,) = stages.searches
    assert (made.filter, made.limit, made.min_similarity) == (where, 2, 0.0)


SILENT = Transcript(segments=(TranscriptSegment(text=" ", start_s=0, end_s=1),), language="en", duration_s=1)


async def test_media_without_a_vector_are_no_part_of_the_question() -> None:
    stages = graph()
    searcher = Searcher(stages, args(), FakeFiles())
    await searcher.ground(context(), "red", [SILENT, seen(None), document(" ")], Retrieval())
    assert only(stages.searches[0]).vector == near(RED)


async def test_where_nothing_is_asked_nothing_is_found() -> None:
    stages = graph()
    assert await Searcher(stages, args(), FakeFiles()).ground(context(), " ", [SILENT], Retrieval()) == ()
    assert not stages.searches


@pytest.mark.parametrize(
    "call",
    [
        lambda searcher, ctx: searcher.search(ctx, asked("a dog", source(IMAGE, 1)), ignore),
        lambda searcher, ctx: searcher.ground(ctx, "a dog", [seen(RED)], Retrieval()),
    ],
)
async def test_the_tenant_is_that_of_the_caller(call: Callable[..., object]) -> None:
    stages = graph()
    ctx = replace(context(), tenant="somebody")
    await call(Searcher(stages, args(), FakeFiles()), ctx)  # type: ignore[misc]
    assert [one.tenant for one in stages.searches] == ["somebody"]
