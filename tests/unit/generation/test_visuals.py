"""What stands beside vLLM's prompt: forms, order, keys, and how much of the context it all takes."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from multimodal.encoders.towers import clock
from multimodal.generation.visuals import Fields, inputs, size
from multimodal.types import GeneratorEmbedding, Image, MediaKind, Video, Visual


def rows(count: int, **more: object) -> GeneratorEmbedding:
    numbers = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    numbers.flags.writeable = False  # as from the object store
    return replace(GeneratorEmbedding(rows=numbers), **more)  # type: ignore[arg-type]


def gridded(steps: int, kind: MediaKind = MediaKind.IMAGE, **more: object) -> GeneratorEmbedding:
    return rows(steps * 4, kind=kind, whole=True, grid=(steps, 4, 4), **more)


def video(*times_s: float) -> Video:
    return Video(
        sha256="v",
        frames=np.full((len(times_s), 56, 28, 3), 7, np.uint8),
        times_s=times_s,
        duration_s=9.0,
        width=28,
        height=56,
        format="mp4",
        audio=None,
    )


PICTURE = Image(sha256="i", pixels=np.zeros((28, 56, 3), np.uint8), width=56, height=28, format="png")


def fields(modality: str, *visuals: Visual) -> Fields:
    return cast(Fields, inputs(visuals, videos_whole=True).data[modality])


@pytest.mark.parametrize("count", [1, 7, 14])
def test_rows_that_are_no_whole_are_an_item_each(count: int) -> None:
    seen = rows(count)
    made = inputs([seen], videos_whole=False).data["image"]
    assert [np.asarray(item).shape for item in made] == [(1, 3)] * count
    assert np.array_equal(np.concatenate([np.asarray(item) for item in made]), seen.rows)
    assert (size(seen).items, size(seen).tokens) == (count, count)


def test_a_whole_is_one_item_beside_others() -> None:
    made = inputs([rows(2), rows(5, whole=True)], videos_whole=False).data["image"]
    assert [np.asarray(item).shape for item in made] == [(1, 3), (1, 3), (5, 3)]
    assert (size(rows(5, whole=True)).items, size(rows(5, whole=True)).tokens) == (1, 5)


def test_grids_are_stacked_in_the_order_of_the_prompt() -> None:
    made = fields("image", gridded(1), gridded(3))
    assert np.asarray(made["image_embeds"]).shape == (16, 3)
    assert np.asarray(made["image_grid_thw"]).tolist() == [[1, 4, 4], [3, 4, 4]]
    assert set(made) == {"image_embeds", "image_grid_thw"}


def test_videos_bring_their_time_in_the_form_of_their_family() -> None:
    seconds = fields("video", *(gridded(2, MediaKind.VIDEO, seconds_per_step=s) for s in (0.5, 1.5)))
    assert np.asarray(seconds["second_per_grid_ts"]).tolist() == [0.5, 1.5]
    stamped = fields(
        "video",
        gridded(1, MediaKind.VIDEO, timestamps_s=(0.2,)),
        gridded(2, MediaKind.VIDEO, timestamps_s=(0.2, 1.5)),
    )
    assert stamped["timestamps"] == [[0.2], [0.2, 1.5]]
    assert "second_per_grid_ts" not in stamped


def test_times_that_the_prompt_writes_down_take_room() -> None:
    silent, stamped = (gridded(2, MediaKind.VIDEO, timestamps_s=times) for times in ((), (0.2, 1.5)))
    written = ["<", *"1234", ".", "5", " seconds", ">", "<|vision_start|>", "<|vision_end|>"]
    assert size(stamped).tokens >= size(silent).tokens + 2 * len(written)


def test_pictures_and_videos_are_modalities_of_their_own() -> None:
    made = inputs([gridded(1), gridded(2, MediaKind.VIDEO), gridded(1)], videos_whole=True).data
    assert np.asarray(cast(Fields, made["image"])["image_grid_thw"]).shape == (2, 3)
    assert np.asarray(cast(Fields, made["video"])["video_grid_thw"]).shape == (1, 3)


def test_recordings_are_lists_of_rows() -> None:
    made = fields("audio", *(rows(count, kind=MediaKind.AUDIO, whole=True) for count in (2, 3)))
    assert [np.asarray(one).shape for one in made["audio_embeds"]] == [(2, 3), (3, 3)]


def test_a_video_of_pixels_is_its_frames_or_one_item_with_its_clock() -> None:
    seen = video(0.5, 1.0, 2.5)
    frames = inputs([PICTURE, seen], videos_whole=False).data
    assert len(frames["image"]) == 4
    assert (size(seen).kind, size(seen).items) == (MediaKind.IMAGE, 3)
    whole = inputs([PICTURE, seen], videos_whole=True).data
    assert len(whole["image"]) == 1
    ((pixels, told),) = cast("list[tuple[NDArray[np.uint8], dict[str, object]]]", whole["video"])
    assert pixels.shape == (3, 56, 28, 3)
    assert told["frames_indices"] == [500, 1000, 2500]
    estimated = size(seen, videos_whole=True)
    assert (estimated.kind, estimated.items, estimated.tokens) == (MediaKind.VIDEO, 1, 6)


@pytest.mark.parametrize(
    "visuals", [(PICTURE, gridded(1)), (gridded(1), rows(2)), (video(0.0, 1.0), gridded(1, MediaKind.VIDEO))]
)
def test_one_modality_has_one_form(visuals: tuple[Visual, ...]) -> None:
    with pytest.raises(ValueError, match="in one form"):
        inputs(visuals, videos_whole=True)


def test_pixels_of_one_modality_go_with_embeddings_of_another() -> None:
    made = inputs([PICTURE, gridded(2, MediaKind.VIDEO, key="v")], videos_whole=True)
    assert set(made.data) == {"image", "video"}
    assert made.uuids == {"video": ["v"]}


def test_keys_name_items_and_rows_without_one_are_hashed() -> None:
    assert inputs([rows(2)], videos_whole=False).uuids == {}
    made = inputs([rows(2, key="a"), rows(1), rows(4, key="b", whole=True)], videos_whole=False)
    assert made.uuids == {"image": ["a-0", "a-1", None, "b"]}
    assert len(made.uuids["image"]) == len(made.data["image"])


def test_a_single_frame_is_repeated_half_a_second_later() -> None:
    filled = clock.filled(video(3.0))
    assert filled.times_s == (3.0, 3.5)
    assert np.array_equal(filled.frames[0], filled.frames[1])
    assert clock.filled(filled) is filled


def test_steps_in_time_are_those_of_the_frames() -> None:
    assert clock.seconds_per_step((0.0, 0.7, 1.4, 2.1), 2) == pytest.approx(1.4)
    assert clock.timestamps_s((0.2, 1.2, 3.4), 2) == pytest.approx((0.7, 3.4))
    assert clock.total_ticks((1.0, 1.0)) == 1
