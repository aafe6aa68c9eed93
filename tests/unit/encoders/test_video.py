"""Scenes, and sight and sound run together."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from multimodal.config import VideoArgs
from multimodal.encoders.video import assemble, frame_image, split_scenes, understand
from multimodal.errors import DeadlineExceeded, StageUnavailable
from multimodal.types import (
    Audio,
    Image,
    ImageFeatures,
    ImageText,
    RequestContext,
    TextLine,
    Transcript,
    TranscriptSegment,
    Video,
    VideoFeatures,
)

Frame = NDArray[np.uint8]

THRESHOLD = VideoArgs().scene_difference
SOUND = Audio(sha256="s", samples=np.zeros(16_000, np.float32), duration_s=1.0, format="aac")


def plain(colour: str, size: tuple[int, int] = (64, 36)) -> Frame:
    return np.asarray(Picture.new("RGB", size, colour))


def busy(size: tuple[int, int] = (640, 360)) -> Frame:
    """A soft pattern of many colours, the same each time."""
    cells = np.random.default_rng(7).integers(0, 256, (size[1] // 20, size[0] // 20, 3), np.uint8)
    return np.asarray(Picture.fromarray(cells).resize(size, Picture.Resampling.BICUBIC))


def captioned(background: Frame, caption: str, height_px: int = 20) -> Frame:
    picture = Picture.fromarray(background)
    font = ImageFont.load_default(height_px)
    ImageDraw.Draw(picture).text((40, background.shape[0] - 2 * height_px), caption, "white", font)
    return np.asarray(picture)


def grainy(frame: Frame, seed: int) -> Frame:
    grain = np.random.default_rng(seed).normal(0, 8, frame.shape)
    return np.clip(frame + grain, 0, 255).astype(np.uint8)


def mottled(frame: Frame, seed: int) -> Frame:
    """Blotches of 4 x 4 pixels all over, as a poor encoder leaves them."""
    height, width = frame.shape[:2]
    blotches = np.random.default_rng(seed).normal(0, 13, (height // 4, width // 4, 3))
    return np.clip(frame + blotches.repeat(4, axis=0).repeat(4, axis=1), 0, 255).astype(np.uint8)


def compressed(frame: Frame, quality: int) -> Frame:
    buffer = io.BytesIO()
    Picture.fromarray(frame).save(buffer, "jpeg", quality=quality)
    return np.asarray(Picture.open(buffer).convert("RGB"))


def video(frames: Sequence[Frame], *, audio: Audio | None = None) -> Video:
    """One frame each second, the first at 0.5 s."""
    return Video(
        sha256="v",
        frames=np.stack(frames) if frames else np.zeros((0, 36, 64, 3), np.uint8),
        times_s=tuple(index + 0.5 for index in range(len(frames))),
        duration_s=float(len(frames)),
        width=1280,
        height=720,
        format="mp4",
        audio=audio,
    )


def frames_of(clip: Video, threshold: float = THRESHOLD) -> list[list[int]]:
    return [list(scene.frames) for scene in split_scenes(clip, threshold)]


def keys_of(clip: Video) -> list[int]:
    return [scene.key for scene in split_scenes(clip, THRESHOLD)]


# --- where a scene begins ----------------------------------------------------------------------


def test_equal_frames_are_one_scene() -> None:
    assert frames_of(video([plain("teal")] * 5)) == [[0, 1, 2, 3, 4]]


def test_another_picture_begins_a_scene() -> None:
    assert frames_of(video([plain("teal"), plain("teal"), plain("navy")])) == [[0, 1], [2]]


@pytest.mark.parametrize("background", [plain("navy", (640, 360)), busy()], ids=["plain", "busy"])
@pytest.mark.parametrize(
    ("before", "after"), [("HELLO WORL", "GOOD BYE X"), ("", "THE END"), ("10:31", "10:39")]
)
def test_a_small_caption_that_changes_begins_a_scene(background: Frame, before: str, after: str) -> None:
    clip = [captioned(background, before), captioned(background, after)]
    assert frames_of(video(clip)) == [[0], [1]]


@pytest.mark.parametrize("quality", [(90, 40), (30, 20)], ids=["good", "poor"])
def test_a_caption_still_shows_through_compression(quality: tuple[int, int]) -> None:
    captions = ("HELLO WORL", "HELLO WORL", "GOOD BYE X", "GOOD BYE X")
    frames = [compressed(captioned(busy(), text), quality[index % 2]) for index, text in enumerate(captions)]
    assert frames_of(video(frames)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("background", [plain("grey", (640, 360)), busy()], ids=["plain", "busy"])
def test_a_still_shot_is_one_scene_whatever_grain_and_compression_do(background: Frame) -> None:
    shot = captioned(background, "HELLO WORLD")
    frames = [compressed(grainy(shot, seed), quality) for seed, quality in enumerate((90, 25, 50, 20))]
    assert frames_of(video(frames)) == [[0, 1, 2, 3]]


def test_unrest_all_over_the_picture_is_not_taken_for_a_change_in_it() -> None:
    shot = plain("grey", (640, 360))
    assert frames_of(video([mottled(shot, seed) for seed in range(4)])) == [[0, 1, 2, 3]]
    assert frames_of(video([mottled(shot, 1), mottled(captioned(shot, "THE END", 30), 2)])) == [[0], [1]]


def test_colours_of_equal_brightness_are_told_apart() -> None:
    assert frames_of(video([plain("#ff0000"), plain("#008200")])) == [[0], [1]]


def test_a_slow_fade_does_not_drift_away_from_the_frame_that_stands_for_it() -> None:
    levels = range(0, 60, 4)
    scenes = frames_of(video([np.full((36, 64, 3), level, np.uint8) for level in levels]))
    assert len(scenes) > 3
    assert all(levels[scene[-1]] - levels[scene[0]] <= 255 * THRESHOLD for scene in scenes)


def test_a_higher_threshold_makes_fewer_scenes() -> None:
    clip = video([np.full((36, 64, 3), level, np.uint8) for level in (0, 20, 40)])
    assert frames_of(clip, threshold=0.01) == [[0], [1], [2]]
    assert frames_of(clip, threshold=0.5) == [[0, 1, 2]]


def test_frames_of_one_pixel_are_compared_too() -> None:
    assert frames_of(video([plain("black", (1, 1)), plain("black", (1, 1)), plain("red", (1, 1))])) == [
        [0, 1],
        [2],
    ]


def test_a_cut_back_is_a_scene_of_its_own_shown_by_the_earlier_frame() -> None:
    clip = video([plain(colour) for colour in ("teal", "navy", "navy", "teal", "red", "navy")])
    assert frames_of(clip) == [[0], [1, 2], [3], [4], [5]]
    assert keys_of(clip) == [0, 1, 0, 4, 1]


def test_a_video_without_frames_has_no_scenes() -> None:
    assert split_scenes(video([]), THRESHOLD) == []


# --- times -------------------------------------------------------------------------------------


def test_scenes_meet_halfway_between_their_frames() -> None:
    spans = split_scenes(video([plain(colour) for colour in ("teal", "navy", "navy", "red")]), THRESHOLD)
    assert [(span.start_s, span.end_s) for span in spans] == [(0.0, 1.0), (1.0, 3.0), (3.0, 4.0)]


@pytest.mark.parametrize(
    ("cuts_s", "borders_s"),
    [
        ((1.2, 2.9), [1.2, 2.9]),
        ((0.6, 1.1, 1.4, 3.0), [1.1, 3.0]),
        ((0.5, 1.5), [1.5, 3.0]),
        ((2.2,), [1.0, 3.0]),
        ((9.0, 0.0), [1.0, 3.0]),
    ],
    ids=["each", "the most central", "at a frame", "inside a scene", "elsewhere"],
)
def test_scenes_meet_at_the_cut_between_their_frames(
    cuts_s: tuple[float, ...], borders_s: list[float]
) -> None:
    clip = replace(video([plain(colour) for colour in ("teal", "navy", "navy", "red")]), cuts_s=cuts_s)
    assert [span.start_s for span in split_scenes(clip, THRESHOLD)] == [0.0, *borders_s]


def test_a_cut_between_frames_that_look_alike_is_no_border() -> None:
    clip = replace(video([plain("teal"), plain("teal")]), cuts_s=(1.0,))
    assert frames_of(clip) == [[0, 1]]


def test_a_container_that_understates_its_duration_does_not_lose_a_frame() -> None:
    clip = video([plain("teal"), plain("navy")])
    short = Video(
        sha256="v",
        frames=clip.frames,
        times_s=(0.0, 9.0),
        duration_s=5.0,
        width=64,
        height=36,
        format="webm",
        audio=None,
    )
    assert split_scenes(short, THRESHOLD)[-1].end_s == 9.0


@st.composite
def clips(draw: st.DrawFn) -> Video:
    levels = draw(st.lists(st.sampled_from([0, 90, 180]), max_size=12))
    steps = draw(st.lists(st.floats(0, 30), min_size=len(levels) + 1, max_size=len(levels) + 1))
    times = np.cumsum(steps)
    return Video(
        sha256="v",
        frames=np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])
        if levels
        else np.zeros((0, 4, 6, 3), np.uint8),
        times_s=tuple(float(time_s) for time_s in times[:-1]),
        duration_s=float(times[-1]),
        width=6,
        height=4,
        format="mp4",
        audio=None,
        cuts_s=tuple(draw(st.lists(st.floats(0, 400), max_size=12))),
    )


@given(clips())
def test_scenes_cover_the_video_in_order_without_gaps_or_overlaps(clip: Video) -> None:
    spans = split_scenes(clip, THRESHOLD)
    assert [index for span in spans for index in span.frames] == list(range(len(clip.times_s)))
    assert all(one.end_s == other.start_s for one, other in pairwise(spans))
    assert all(span.start_s <= span.end_s for span in spans)
    if spans:
        assert (spans[0].start_s, spans[-1].end_s) == (0.0, clip.duration_s)
    for span in spans:
        assert all(span.start_s <= clip.times_s[index] <= span.end_s for index in span.frames)


@given(clips())
def test_every_frame_looks_like_the_frame_that_stands_for_its_scene(clip: Video) -> None:
    spans = split_scenes(clip, THRESHOLD)
    for span in spans:
        assert span.key <= span.frames.start
        assert all((clip.frames[index] == clip.frames[span.key]).all() for index in span.frames)
    assert len({span.key for span in spans}) == len({frame.tobytes() for frame in clip.frames})


# --- frames as pictures, scenes as features ----------------------------------------------------


def test_a_frame_is_a_picture_named_by_video_and_time() -> None:
    clip = video([plain("teal"), plain("navy")])
    picture = frame_image(clip, 1)
    assert picture.sha256 == "v#1.500"
    assert (picture.width, picture.height, picture.format) == (1280, 720, "mp4")
    assert np.array_equal(picture.pixels, plain("navy"))
    assert np.shares_memory(picture.pixels, clip.frames)
    assert picture.pixels.flags.c_contiguous


def features(name: str) -> ImageFeatures:
    return ImageFeatures(sha256=name, width=1, height=1, colours=(), vector=None)


def text(words: str) -> ImageText:
    return ImageText(lines=(TextLine(text=words, confidence=1.0, box=(0, 0, 1, 1)),))


def test_assembling_puts_pictures_and_texts_on_the_time_line() -> None:
    clip = video([plain("teal"), plain("teal"), plain("navy")])
    spans = split_scenes(clip, THRESHOLD)
    whole = assemble(clip, spans, [features("a"), features("b")], [text("one"), text("two")], None)
    assert [(scene.start_s, scene.end_s, scene.times_s) for scene in whole.scenes] == [
        (0.0, 2.0, (0.5, 1.5)),
        (2.0, 3.0, (2.5,)),
    ]
    assert [(scene.image.sha256, scene.text.lines[0].text) for scene in whole.scenes] == [
        ("a", "one"),
        ("b", "two"),
    ]
    assert (whole.sha256, whole.duration_s, whole.width, whole.height) == ("v", 3.0, 1280, 720)


def test_assembling_refuses_a_missing_text() -> None:
    clip = video([plain("teal")])
    with pytest.raises(ValueError, match="zip"):
        assemble(clip, split_scenes(clip, THRESHOLD), [features("a")], [], None)


# --- sight and sound together ------------------------------------------------------------------


class Encoders:
    """Answers named after what was asked; each call waits until `together` calls are under way."""

    def __init__(self, together: int = 1) -> None:
        self.encoded: list[str] = []
        self.was_read: list[str] = []
        self.cancelled: list[str] = []
        self._together = together
        self._waiting = 0
        self._all_here = asyncio.Event()

    async def _meet(self, name: str) -> None:
        self._waiting += 1
        if self._waiting >= self._together:
            self._all_here.set()
        try:
            await self._all_here.wait()
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise

    async def encode_image(self, ctx: RequestContext, image: Image) -> ImageFeatures:
        self.encoded.append(image.sha256)
        await self._meet("encode_image")
        return features(f"{ctx.request_id} saw {image.sha256}")

    async def read(self, ctx: RequestContext, image: Image) -> ImageText:
        self.was_read.append(image.sha256)
        await self._meet("read")
        return text(f"{ctx.request_id} read {image.sha256}")

    async def transcribe(self, ctx: RequestContext, audio: Audio) -> Transcript:
        await self._meet("transcribe")
        heard = TranscriptSegment(text=f"{ctx.request_id} heard {audio.sha256}", start_s=0, end_s=1)
        return Transcript(segments=(heard,), language="en", duration_s=audio.duration_s)


class BrokenReader(Encoders):
    async def read(self, ctx: RequestContext, image: Image) -> ImageText:
        await asyncio.sleep(0)
        raise StageUnavailable("Reader is restarting: try again.", retry_after_s=5)


def context(seconds: float = 60.0) -> RequestContext:
    return RequestContext(request_id="r", tenant="t", deadline_s=time.time() + seconds)


async def watch(clip: Video, encoders: Encoders, ctx: RequestContext | None = None) -> VideoFeatures:
    return await understand(
        ctx or context(),
        clip,
        encode_image=encoders.encode_image,
        read=encoders.read,
        transcribe=encoders.transcribe,
        scene_difference=THRESHOLD,
    )


async def test_every_scene_is_encoded_and_read_and_the_sound_is_heard() -> None:
    seen = await watch(video([plain("teal"), plain("teal"), plain("navy")], audio=SOUND), Encoders())
    assert [scene.image.sha256 for scene in seen.scenes] == ["r saw v#0.500", "r saw v#2.500"]
    assert [scene.text.lines[0].text for scene in seen.scenes] == ["r read v#0.500", "r read v#2.500"]
    assert seen.transcript is not None
    assert seen.transcript.text == "r heard s"


async def test_all_scenes_and_the_sound_are_under_way_at_once() -> None:
    clip = video([plain("teal"), plain("navy"), plain("red")], audio=SOUND)
    assert len((await watch(clip, Encoders(together=7))).scenes) == 3


async def test_a_scene_seen_before_is_not_encoded_again() -> None:
    encoders = Encoders()
    seen = await watch(video([plain(colour) for colour in ("teal", "navy", "teal")]), encoders)
    assert sorted(encoders.encoded) == sorted(encoders.was_read) == ["v#0.500", "v#1.500"]
    assert [scene.image.sha256[-5:] for scene in seen.scenes] == ["0.500", "1.500", "0.500"]
    assert [scene.times_s for scene in seen.scenes] == [(0.5,), (1.5,), (2.5,)]


async def test_without_a_sound_track_there_is_no_transcript() -> None:
    assert (await watch(video([plain("teal")]), Encoders())).transcript is None


async def test_a_sound_track_without_pictures_is_heard() -> None:
    seen = await watch(video([], audio=SOUND), Encoders())
    assert seen.scenes == ()
    assert seen.transcript is not None


async def test_a_failure_ends_the_rest_and_surfaces_as_it_is() -> None:
    encoders = BrokenReader(together=99)
    with pytest.raises(StageUnavailable, match="Reader is restarting") as failure:
        await watch(video([plain("teal")], audio=SOUND), encoders)
    assert failure.value.retry_after_s == 5
    assert sorted(encoders.cancelled) == ["encode_image", "transcribe"]


async def test_a_deadline_that_passes_ends_the_wait() -> None:
    encoders = Encoders(together=99)
    with pytest.raises(DeadlineExceeded):
        await watch(video([plain("teal")], audio=SOUND), encoders, context(seconds=0.5))
    assert "transcribe" in encoders.cancelled


async def test_a_caller_that_gives_up_ends_every_call() -> None:
    encoders = Encoders(together=99)
    task = asyncio.create_task(watch(video([plain("teal")], audio=SOUND), encoders))
    while not encoders.was_read:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(encoders.cancelled) == ["encode_image", "read", "transcribe"]
