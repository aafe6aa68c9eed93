"""Texts and media as vectors of one space, and pictures told apart with words, over fake stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from multimodal.config import AppArgs
from multimodal.embedding import mean_direction
from multimodal.encoders.concepts import softmax
from multimodal.errors import DeadlineExceeded, InvalidMedia, InvalidRequest, LostMedia, StageUnavailable
from multimodal.pipeline import Assistant
from multimodal.types import (
    Classification,
    ClassifyRequest,
    Deferred,
    Embeddings,
    MediaKind,
    MediaSource,
    RequestContext,
    StageEvent,
    TextEmbeddings,
    Transcript,
    TranscriptPart,
    TranscriptSegment,
)
from tests.encoder_fakes import DIMENSIONS, LOGIT_SCALE, vector_of
from tests.fakes import FakeStages, scene
from tests.unit.api.library_fakes import FakeFiles

RED, BLUE = vector_of("red"), vector_of("blue")


def context(seconds: float = 30.0) -> RequestContext:
    return RequestContext(request_id="r", tenant="local", deadline_s=time.time() + seconds)


def source(kind: MediaKind, param: str, data: bytes = b"cat") -> MediaSource:
    return MediaSource(kind=kind, data=data, param=param)


PICTURE = source(MediaKind.IMAGE, "input.0")
SPEECH = source(MediaKind.AUDIO, "input.1")
CLIP = source(MediaKind.VIDEO, "input.2")


def said(*texts: str) -> Transcript:
    segments = (
        TranscriptSegment(text=f" {text}", start_s=index, end_s=index + 1.0)
        for index, text in enumerate(texts)
    )
    return Transcript(segments=tuple(segments), language="en", duration_s=float(len(texts)))


def ignore(event: StageEvent | TranscriptPart) -> None:
    pass


def args(**image: object) -> AppArgs:
    return AppArgs.model_validate({"image": image, "text": {"max_tokens": 12}})


def graph(**changes: object) -> FakeStages:
    """Pictures are red, texts have at most ten words."""
    stages = FakeStages(picture=RED, scenes=(scene(RED, 2),), text_limit=12)
    for name, value in changes.items():
        assert hasattr(stages, name)
        setattr(stages, name, value)
    return stages


async def embed(stages: FakeStages, *inputs: str | MediaSource, **image: object) -> Embeddings:
    return await Assistant(stages, args(**image), FakeFiles()).embed(context(), inputs, ignore)


async def test_texts_and_media_come_in_their_order() -> None:
    stages = graph(transcript=said("a green tree"), scenes=(scene(BLUE, 1),))
    clip = replace(CLIP, param="input.3")
    found = await embed(stages, "a dog", PICTURE, "a cat", clip, SPEECH)

    expected = [vector_of("a dog"), RED, vector_of("a cat"), BLUE, vector_of("a green tree")]
    assert found.vectors == pytest.approx(np.stack(expected), abs=1e-6)
    assert found.vectors.dtype == np.float32


async def test_all_texts_are_one_call() -> None:
    stages = graph()
    await embed(stages, "one", PICTURE, "two")
    assert stages.embedded == [("one", "two")]


async def test_media_alone_need_no_text_model() -> None:
    stages = graph()
    found = await embed(stages, PICTURE)
    assert (found.tokens, stages.embedded) == (0, [])


async def test_the_vector_of_a_picture_is_that_of_its_encoder_and_nothing_is_read_in_it() -> None:
    stages = graph()
    found = await embed(stages, PICTURE)
    assert np.array_equal(found.vectors, RED[None])
    assert not {"read", "see"} & set(stages.calls)


async def test_tokens_of_texts_and_transcripts_are_counted() -> None:
    stages = graph(transcript=said("three more words"))
    assert (await embed(stages, "two words", PICTURE, SPEECH)).tokens == (2 + 2) + (3 + 2)


async def test_a_scene_of_a_video_counts_as_often_as_it_has_frames() -> None:
    stages = graph(scenes=(scene(RED, 3), scene(BLUE, 1, 3.0)))
    found = await embed(stages, CLIP)
    mean = 3 * RED + BLUE
    assert found.vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


async def test_media_are_worked_on_at_the_same_time() -> None:
    gate = asyncio.Event()
    stages = graph(gates={name: gate for name in ("encode_image", "transcribe", "watch", "embed_text")})
    task = asyncio.ensure_future(embed(stages, PICTURE, SPEECH, CLIP, "a text"))
    while not {"encode_image", "transcribe", "watch", "embed_text"} <= set(stages.calls):
        await asyncio.sleep(0)
    gate.set()
    assert len((await task).vectors) == 4


async def test_stages_of_media_are_told() -> None:
    events: list[StageEvent | TranscriptPart] = []
    await Assistant(graph(), args(), FakeFiles()).embed(context(), ["a text", PICTURE], events.append)
    told = [(event.stage, event.param) for event in events if isinstance(event, StageEvent) and event.seconds]
    assert told == [("load", PICTURE.param), ("encode", PICTURE.param)]


# --- what can go wrong -----------------------------------------------------------------------------


async def test_the_first_failure_names_its_part_and_ends_the_others() -> None:
    stages = graph(gates={"transcribe": asyncio.Event()})
    broken = source(MediaKind.IMAGE, "input.3", b"bad picture")
    with pytest.raises(InvalidMedia) as error:
        await embed(stages, "a text", SPEECH, PICTURE, broken)
    assert error.value.param == "input.3"
    assert "transcribe" in stages.cancelled


async def test_a_text_that_is_too_long_is_named_by_its_place_in_the_request() -> None:
    with pytest.raises(InvalidRequest) as error:
        await embed(graph(), "fits", PICTURE, "word " * 20)
    assert error.value.param == "input.2"


@pytest.mark.parametrize("spoken", [said(), said("", " ")])
async def test_a_recording_in_which_nobody_speaks_is_named(spoken: Transcript) -> None:
    with pytest.raises(InvalidRequest, match="Nobody speaks") as error:
        await embed(graph(transcript=spoken), "a text", SPEECH)
    assert error.value.param == SPEECH.param


@pytest.mark.parametrize("medium", [PICTURE, CLIP])
async def test_without_an_image_tower_the_operator_is_told_what_to_configure(medium: MediaSource) -> None:
    stages = graph(picture=None, scenes=(scene(None, 1),))
    with pytest.raises(InvalidRequest, match=r"image\.model") as error:
        await embed(stages, "a text", medium)
    assert error.value.param == medium.param


@pytest.mark.parametrize("medium", [PICTURE, CLIP])
async def test_a_tower_with_a_space_of_its_own_is_refused_before_anything_is_decoded(
    medium: MediaSource,
) -> None:
    stages = graph()
    with pytest.raises(InvalidRequest, match=r"image\.space") as error:
        await embed(stages, SPEECH, medium, space="own")
    assert error.value.param == medium.param
    assert not stages.calls


async def test_recordings_can_be_compared_whatever_the_tower() -> None:
    found = await embed(graph(transcript=said("a dog")), "a dog", SPEECH, space="own")
    assert found.vectors[0] == pytest.approx(found.vectors[1])


async def test_vectors_of_another_length_are_of_another_space() -> None:
    stages = graph(picture=np.full(DIMENSIONS + 1, 0.1, np.float32))
    with pytest.raises(InvalidRequest, match=r"image\.space") as error:
        await embed(stages, "a text", SPEECH, PICTURE)
    assert error.value.param == PICTURE.param


async def test_a_video_without_frames_is_named() -> None:
    with pytest.raises(InvalidMedia) as error:
        await embed(graph(scenes=()), CLIP)
    assert error.value.param == CLIP.param


async def test_lost_media_are_loaded_again_once() -> None:
    stages = graph(failures={"encode_image": [LostMedia("gone")]})
    assert np.array_equal((await embed(stages, PICTURE)).vectors[0], RED)
    assert stages.calls.count(f"load {PICTURE.param}") == 2


@pytest.mark.parametrize("stage", ["encode_image", "embed_text"])
async def test_a_stage_that_never_ends_is_cut_off_at_the_deadline(stage: str) -> None:
    stages = graph(gates={stage: asyncio.Event()})
    with pytest.raises(DeadlineExceeded):
        await Assistant(stages, args(), FakeFiles()).embed(context(0.05), ["a text", PICTURE], ignore)


async def test_the_deadline_grows_with_the_length_of_sound() -> None:
    stages, ctx = graph(), context()
    await Assistant(stages, args(), FakeFiles()).embed(ctx, [replace(SPEECH, data=b"x" * 40_000)], ignore)
    assert [round(seen.deadline_s - ctx.deadline_s) for seen in stages.contexts] == [10]


# --- long recordings -------------------------------------------------------------------------------


async def test_what_the_model_can_read_at_once_is_read_at_once() -> None:
    stages = graph(transcript=said("one two three", "four five"))
    await embed(stages, SPEECH)
    assert stages.embedded == [("one two three four five",)]


def read(stages: FakeStages) -> list[str]:
    """The texts that fitted."""
    return [text for (text,) in stages.embedded if len(text.split()) + 2 <= stages.text_limit]


async def test_a_long_transcript_is_the_mean_of_pieces_of_whole_segments_by_their_tokens() -> None:
    stages = graph(transcript=said("a b c d e f g", "h i j", "k l m n", "o"))
    found = await embed(stages, SPEECH)

    assert sorted(read(stages)) == ["a b c d e f g h i j", "k l m n o"]
    mean = 12 * vector_of("a b c d e f g h i j") + 7 * vector_of("k l m n o")
    assert found.vectors[0] == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert found.tokens == 12 + 7


async def test_what_surely_does_not_fit_is_not_tried() -> None:
    stages = graph(transcript=said(*(["one two three four five"] * 40)))
    await embed(stages, SPEECH)
    assert all(len(text.split()) <= 12 for (text,) in stages.embedded)


@given(st.lists(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), min_size=1, max_size=30))
def test_every_word_is_read_once_and_in_order(segments: list[list[str]]) -> None:
    stages = graph(transcript=said(*(" ".join(words) for words in segments)))
    found = asyncio.run(embed(stages, SPEECH))

    words = [word for segment in segments for word in segment]
    pieces = read(stages)
    assert sorted(" ".join(pieces).split()) == sorted(words)
    assert all(piece in " ".join(words) for piece in pieces)
    assert found.tokens == len(words) + 2 * len(pieces)
    assert np.linalg.norm(found.vectors[0]) == pytest.approx(1, abs=1e-5)


class Characters(FakeStages):
    """Every character is a token, as in languages without spaces."""

    def embed_text(self, ctx: RequestContext, texts: Sequence[str]) -> Deferred[TextEmbeddings]:
        return super().embed_text(ctx, [" ".join(text) for text in texts])


async def test_a_segment_without_spaces_is_cut_in_its_middle() -> None:
    stages = Characters(text_limit=12, transcript=said("abcdefghijklmnop"))
    await embed(stages, SPEECH)
    assert read(stages) == ["a b c d e f g h", "i j k l m n o p"]


async def test_a_recording_whose_text_cannot_be_embedded_is_named() -> None:
    stages = graph(text_limit=2)
    with pytest.raises(InvalidRequest) as error:
        await embed(stages, SPEECH)
    assert error.value.param == SPEECH.param
    stages = graph(failures={"embed_text": [StageUnavailable("gone")]})
    with pytest.raises(StageUnavailable) as gone:
        await embed(stages, SPEECH)
    assert gone.value.param == SPEECH.param


# --- classification --------------------------------------------------------------------------------

SEEN = replace(PICTURE, param="input")


async def classify(
    stages: FakeStages, *labels: str, medium: MediaSource = SEEN, template: str = "{}", **image: object
) -> Classification:
    request = ClassifyRequest(source=medium, labels=labels, template=template)
    return await Assistant(stages, args(**image), FakeFiles()).classify(context(), request, ignore)


async def test_the_label_that_fits_is_first() -> None:
    found = await classify(graph(), "blue", "red", "a red one")
    assert [one.label for one in found.results] == ["red", "a red one", "blue"]
    assert found.results[0].similarity == pytest.approx(1, abs=1e-6)


async def test_scores_are_the_softmax_of_scaled_similarities() -> None:
    labels = ("blue", "red", "green")
    found = await classify(graph(), *labels)
    powers = {label: np.exp(LOGIT_SCALE * float(vector_of(label) @ RED)) for label in labels}
    for one in found.results:
        assert one.similarity == pytest.approx(float(vector_of(one.label) @ RED), abs=1e-6)
        assert one.score == pytest.approx(powers[one.label] / sum(powers.values()), rel=1e-4)


async def test_labels_stand_in_the_template() -> None:
    stages = graph()
    found = await classify(stages, "blue", "red", template="a {} square")
    assert stages.embedded == [("a blue square", "a red square")]
    assert [one.label for one in found.results] == ["red", "blue"]
    assert found.tokens == 2 * (3 + 2)


async def test_a_label_is_no_template() -> None:
    stages = graph()
    await classify(stages, "{}", "{0}", template="a {}")
    assert stages.embedded == [("a {}", "a {0}")]


async def test_videos_are_classified_by_their_scenes() -> None:
    stages = graph(scenes=(scene(RED, 3), scene(BLUE, 1, 3.0)))
    found = await classify(stages, "blue", "red", medium=replace(CLIP, param="input"))
    assert [one.label for one in found.results] == ["red", "blue"]


async def test_the_medium_and_the_labels_are_encoded_at_the_same_time() -> None:
    gate = asyncio.Event()
    stages = graph(gates={"encode_image": gate, "embed_text": gate})
    task = asyncio.ensure_future(classify(stages, "blue", "red"))
    while not {"encode_image", "embed_text"} <= set(stages.calls):
        await asyncio.sleep(0)
    gate.set()
    await task


@pytest.mark.parametrize(
    ("stages", "space", "labels", "param"),
    [
        (graph(), "unified", ("blue", "word " * 20), "labels.1"),
        (graph(picture=None), "unified", ("blue", "red"), "input"),
        (graph(picture=np.ones(3, np.float32)), "unified", ("blue", "red"), "input"),
        (graph(), "own", ("blue", "red"), "input"),
    ],
    ids=["a long label", "no tower", "another length", "a space of its own"],
)
async def test_what_cannot_be_classified_is_named(
    stages: FakeStages, space: str, labels: tuple[str, ...], param: str
) -> None:
    with pytest.raises(InvalidRequest) as error:
        await classify(stages, *labels, space=space)
    assert error.value.param == param


@given(arrays.arrays(np.float64, st.integers(2, 50), elements=st.floats(-1, 1)), st.floats(0, 100))
def test_scores_sum_to_one_and_keep_the_order(similarities: NDArray[np.float64], scale: float) -> None:
    scores = softmax(scale * similarities)
    assert scores.sum() == pytest.approx(1, abs=1e-9)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores[np.argsort(similarities)]) >= 0).all()


def test_large_logits_do_not_overflow() -> None:
    assert softmax(np.asarray([1e4, -1e4])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("vectors", "weights", "expected"),
    [
        ([[1, 0], [0, 1]], [1, 1], [0.5**0.5, 0.5**0.5]),
        ([[1, 0], [0, 1]], [3, 4], [0.6, 0.8]),
        ([[1, 0], [-1, 0]], [2, 1], [1, 0]),
        ([[1, 0], [-1, 0]], [1, 1], [0, 0]),
    ],
)
def test_mean_directions_have_unit_length(
    vectors: Sequence[Sequence[float]], weights: Sequence[float], expected: Sequence[float]
) -> None:
    found = mean_direction(np.asarray(vectors, np.float32), weights)
    assert found.tolist() == pytest.approx(list(expected), abs=1e-6)
