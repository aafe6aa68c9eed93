"""Real clips: which frames are sampled, when, upright, and the sound beside them."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pytest
from PIL import Image as Pillow

from multimodal.config import Limits, LoaderArgs
from multimodal.errors import InvalidMedia, InvalidRequest, MediaTooLarge, NoPictures, UnsupportedMedia
from multimodal.identity import sha256_of
from multimodal.media import decode_video
from multimodal.media.decoder import decode
from multimodal.types import SAMPLE_RATE_HZ, FrameSampling, MediaKind, MediaSource, Video
from tests import media

PARAM = "messages.0.content.0"
RED, GREEN, BLUE = (178, 34, 34), (0, 100, 0), (0, 0, 128)


def load(
    data: bytes,
    sampling: FrameSampling = FrameSampling.UNIFORM,
    max_frames: int | None = None,
    *,
    limits: Limits | None = None,
    max_side_px: int = 960,
) -> Video:
    source = MediaSource(
        kind=MediaKind.VIDEO, data=data, param=PARAM, frame_sampling=sampling, max_frames=max_frames
    )
    video = decode(source, limits or Limits(), LoaderArgs(frame_max_side_px=max_side_px))
    assert isinstance(video, Video)
    return video


def background(video: Video) -> list[tuple[int, ...]]:
    """Colour of the corner of each frame."""
    return [tuple(int(level) for level in frame[5, 5]) for frame in video.frames]


def close(colours: list[tuple[int, ...]], wanted: list[tuple[int, ...]]) -> bool:
    return len(colours) == len(wanted) and bool(np.abs(np.array(colours) - np.array(wanted)).max() <= 12)


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
def test_each_container_gives_frames_and_sound(container: media.ClipFormat) -> None:
    data = media.captioned_clip(container=container)
    video = load(data, max_frames=3)
    assert (video.width, video.height, video.format) == (640, 360, container)
    assert video.frames.shape == (3, 360, 640, 3)
    assert video.frames.dtype == np.uint8
    assert video.frames.flags["C_CONTIGUOUS"]
    assert close(background(video), [RED, GREEN, BLUE])
    assert video.duration_s == pytest.approx(10.0, abs=0.1)
    assert video.audio is not None
    assert video.audio.duration_s == pytest.approx(10.0, abs=0.1)
    assert video.sha256 == video.audio.sha256 == sha256_of(data)


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
@pytest.mark.parametrize("max_frames", [1, 4, 8, 64])
def test_uniform_frames_are_the_ones_shown_at_their_times(
    container: media.ClipFormat, max_frames: int
) -> None:
    video = load(media.numbered_clip(100, container), max_frames=max_frames)
    numbers = [media.frame_number(Pillow.fromarray(frame)) for frame in video.frames]
    middles = [10.0 * (i + 0.5) / max_frames for i in range(max_frames)]
    assert numbers == [int(middle * media.CLIP_FPS + 1e-6) for middle in middles]
    assert video.times_s == pytest.approx([number / media.CLIP_FPS for number in numbers], abs=0.002)


def test_a_clip_gives_no_more_frames_than_it_has() -> None:
    video = load(media.numbered_clip(5), max_frames=64)
    assert [media.frame_number(Pillow.fromarray(frame)) for frame in video.frames] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
def test_keyframes_come_from_the_encoder(container: media.ClipFormat) -> None:
    video = load(media.captioned_clip(container=container), FrameSampling.KEYFRAMES)
    assert video.times_s == pytest.approx([0.0, 3.3, 6.7], abs=0.01)
    assert close(background(video), [RED, GREEN, BLUE])


def test_many_keyframes_are_thinned_evenly() -> None:
    video = load(media.numbered_clip(100, "webm"), FrameSampling.KEYFRAMES, 2)
    assert [media.frame_number(Pillow.fromarray(frame)) for frame in video.frames] == [30, 90]


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
def test_each_scene_gives_its_middle(container: media.ClipFormat) -> None:
    video = load(media.captioned_clip(container=container), FrameSampling.SCENE)
    assert video.times_s == pytest.approx([1.65, 5.0, 8.35], abs=0.3)
    assert close(background(video), [RED, GREEN, BLUE])


RED_ONE, GREEN_TWO, BLUE_THREE = ("firebrick", "ONE"), ("darkgreen", "TWO"), ("navy", "THREE")
PARTS = (33.0, 67.0, 1.0, 50.0, 10.0, 39.0)


class CutClip(NamedTuple):
    """What `media.cut_clip` makes."""

    scenes: tuple[tuple[str, str, float], ...]
    fps: int = 25
    fade_s: float = 0.0

    def data(self) -> bytes:
        return media.cut_clip(self.scenes, fps=self.fps, fade_s=self.fade_s)

    def bounds_s(self) -> list[float]:
        """When its scenes begin, and the end."""
        return [
            sum(seconds for _, _, seconds in self.scenes[:count]) for count in range(len(self.scenes) + 1)
        ]


CUT_CLIPS = {
    "cuts": CutClip(((*RED_ONE, 4.0), (*GREEN_TWO, 3.0), (*BLUE_THREE, 5.0))),
    "one short": CutClip(((*RED_ONE, 40.0), (*GREEN_TWO, 0.8), (*RED_ONE, 19.2))),
    "slides": CutClip(tuple(("grey", words, 4.0) for words in ("AGENDA", "RESULTS 2024", "QUESTIONS"))),
    "short fades": CutClip(((*RED_ONE, 3.0), (*GREEN_TWO, 3.0), (*BLUE_THREE, 3.0)), fade_s=1.0),
    "long fades": CutClip(((*RED_ONE, 6.0), (*GREEN_TWO, 6.0), (*BLUE_THREE, 6.0)), fade_s=2.5),
    "one frame a second": CutClip(
        tuple(
            (colour, f"PART {seconds}", seconds)
            for colour, seconds in zip(("red", "green", "blue", "black", "teal", "red"), PARTS, strict=True)
        ),
        fps=1,
    ),
}


@pytest.mark.parametrize("name", CUT_CLIPS)
@pytest.mark.parametrize("max_frames", [6, 64])
def test_every_scene_gives_one_frame(name: str, max_frames: int) -> None:
    clip = CUT_CLIPS[name]
    video = load(clip.data(), FrameSampling.SCENE, max_frames)
    for time_s, (start_s, end_s) in zip(video.times_s, pairwise(clip.bounds_s()), strict=True):
        assert start_s + clip.fade_s / 2 <= time_s < end_s - clip.fade_s / 2


@pytest.mark.parametrize("name", CUT_CLIPS)
def test_the_times_of_cuts_are_known(name: str) -> None:
    clip = CUT_CLIPS[name]
    cuts_s = clip.bounds_s()[1:-1]
    video = load(clip.data(), FrameSampling.SCENE, 64)
    assert video.cuts_s == pytest.approx(cuts_s, abs=1e-6 if clip.fps == 1 else 0.15 + clip.fade_s / 4)


def test_of_costly_videos_only_key_frames_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_video, "_SCAN_PIXELS", 1)
    video = load(media.captioned_clip(), FrameSampling.SCENE)
    assert video.cuts_s == pytest.approx([3.3, 6.7], abs=0.01)
    assert close(background(video), [RED, GREEN, BLUE])


def test_only_scene_sampling_knows_cuts() -> None:
    data = CUT_CLIPS["cuts"].data()
    assert load(data).cuts_s == load(data, FrameSampling.KEYFRAMES).cuts_s == ()


@pytest.mark.parametrize("name", ["cuts", "one frame a second"])
@pytest.mark.parametrize("sampling", FrameSampling)
@pytest.mark.parametrize("max_frames", [1, 2, 5, 64])
def test_times_ascend_within_the_video(name: str, sampling: FrameSampling, max_frames: int) -> None:
    video = load(CUT_CLIPS[name].data(), sampling, max_frames)
    assert 1 <= len(video.frames) == len(video.times_s) <= max_frames
    assert list(video.times_s) == sorted(set(video.times_s))
    assert 0 <= video.times_s[0] <= video.times_s[-1] < video.duration_s
    assert list(video.cuts_s) == sorted(set(video.cuts_s))
    assert len(video.cuts_s) < max_frames


def test_a_clip_without_a_cut_gives_its_middle() -> None:
    video = load(media.cut_clip(((*RED_ONE, 20.0),)), FrameSampling.SCENE)
    assert video.times_s == pytest.approx([10.0], abs=0.1)
    assert video.cuts_s == ()


def test_scenes_are_no_more_than_asked_for() -> None:
    assert len(load(media.captioned_clip(), FrameSampling.SCENE, 2).frames) == 2


def test_the_number_of_frames_is_configured() -> None:
    assert len(load(media.captioned_clip()).frames) == LoaderArgs().max_frames


@pytest.mark.parametrize("max_frames", [0, -1, 65])
def test_too_many_frames_are_refused(max_frames: int) -> None:
    with pytest.raises(InvalidRequest, match="between 1 and 64") as caught:
        load(media.captioned_clip(), max_frames=max_frames)
    assert caught.value.param == f"{PARAM}.max_frames"


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_turned_clips_are_upright(degrees: Literal[90, 180, 270]) -> None:
    video = load(media.turned_clip(degrees), max_frames=1)
    size = (80, 40) if degrees == 180 else (40, 80)
    assert (video.width, video.height) == size
    wanted = np.rot90(np.asarray(media.quarters()), -degrees // 90)
    assert video.frames[0].shape == wanted.shape
    assert np.abs(video.frames[0].astype(int) - wanted).mean() < 12


def test_turned_clips_scale_upright() -> None:
    assert load(media.turned_clip(90), max_frames=1, max_side_px=40).frames.shape == (1, 40, 20, 3)


def test_large_frames_are_scaled_down() -> None:
    video = load(media.captioned_clip(), max_side_px=160)
    assert video.frames.shape == (8, 90, 160, 3)
    assert (video.width, video.height) == (640, 360)


@pytest.mark.parametrize("width", [4, 8, 12, 16, 24, 32, 40, 48, 64, 96, 100, 144, 160, 176])
def test_frames_of_every_width_are_read(width: int) -> None:
    scale = width / 640
    video = load(media.captioned_clip(voice=None), max_frames=3, max_side_px=width)
    assert video.frames.shape == (3, max(1, round(360 * scale)), width, 3)
    assert close([tuple(frame[0, 0].tolist()) for frame in video.frames], [RED, GREEN, BLUE])


def test_a_clip_without_sound_track_has_no_audio() -> None:
    assert load(media.numbered_clip(10)).audio is None


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
def test_sight_and_sound_share_one_clock(container: media.ClipFormat) -> None:
    audio = load(media.captioned_clip(container=container)).audio
    assert audio is not None
    loud = np.flatnonzero(np.abs(audio.samples) > 0.05) / SAMPLE_RATE_HZ
    assert 1.0 <= loud[0] < 1.3


def test_sound_that_starts_late_is_padded() -> None:
    audio = load(media.late_sound_clip(2.0), max_frames=1).audio
    assert audio is not None
    loud = np.flatnonzero(np.abs(audio.samples) > 0.05) / SAMPLE_RATE_HZ
    assert loud[0] == pytest.approx(2.0, abs=0.3)


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
def test_too_long_clips_are_refused(container: media.ClipFormat) -> None:
    with pytest.raises(MediaTooLarge, match="longer than the 5 s") as caught:
        load(media.captioned_clip(container=container), limits=Limits(video_s=5.0))
    assert caught.value.param == PARAM


def test_too_large_frames_are_refused() -> None:
    with pytest.raises(MediaTooLarge, match="pixels"):
        load(media.captioned_clip(), limits=Limits(image_pixels=640 * 360 - 1))


@pytest.mark.parametrize("container", media.CLIP_FORMATS)
@pytest.mark.parametrize("keep", [0.02, 0.3, 0.6, 0.95])
def test_clips_that_end_early_are_invalid(container: media.ClipFormat, keep: float) -> None:
    with pytest.raises(InvalidMedia) as caught:
        load(media.truncated(media.captioned_clip(container=container), keep))
    assert caught.value.param == PARAM


def test_counts_in_the_header_are_not_believed() -> None:
    clip = bytearray(media.numbered_clip(100))
    at = clip.index(b"stts") + 12
    clip[at : at + 4] = struct.pack(">I", 50_000_000)
    video = load(bytes(clip), max_frames=4)
    assert video.duration_s == pytest.approx(10.0, abs=0.1)
    assert len(video.frames) == 4


def test_sound_is_no_video() -> None:
    with pytest.raises(NoPictures, match="no moving pictures"):
        load(media.speech("hello", "mp4"))


def test_an_unknown_codec_is_unsupported() -> None:
    with pytest.raises(UnsupportedMedia, match="codec of this video"):
        load(media.numbered_clip(10).replace(b"avc1", b"zzzz"))
