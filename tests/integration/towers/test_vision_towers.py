"""Towers against vLLM itself: what an engine without a tower says of our embeddings is what one with its
tower says of the pixels."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from multimodal.config import GeneratorArgs, VisionArgs
from multimodal.encoders.towers.base import Tower
from multimodal.encoders.towers.opening import open_tower
from multimodal.encoders.towers.weights import INDEX_FILE, SINGLE_FILE
from multimodal.errors import ConfigError
from multimodal.stages import Seen
from multimodal.types import (
    Audio,
    GenerateRequest,
    GeneratorEmbedding,
    Image,
    MediaKind,
    MediaPart,
    PromptMessage,
    RequestContext,
    Role,
    Sampling,
    TextPart,
    Usage,
    Video,
    Visual,
)
from tests import tiny_models
from tests.integration.towers.vllm_process import PIECE_TOKENS, Question, Session, ask

# torch and transformers warn about their own parts.
if TYPE_CHECKING:
    import torch

    from multimodal.generation.engine import VllmEngine

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

Medium = Image | Video
TOWER = VisionArgs(source="tower", dtype="float32")


@dataclass(frozen=True)
class Family:
    """A tiny checkpoint of a family, and how its prompts are written."""

    build: Callable[[Path], None]
    image: str
    video: str
    parts: tuple[str, ...]
    """vLLM's names of its tower and projector."""
    weights: tuple[str, ...]
    """What their tensors' names begin with in the checkpoint."""
    tells_time: bool = True
    """Whether it matters when frames are."""

    def args(self, *, pixels: bool) -> GeneratorArgs:
        return GeneratorArgs(pixels=pixels, image_placeholder=self.image, video_placeholder=self.video)


QWEN = ("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")
ONE_VISION = Family(
    tiny_models.llava_onevision,
    "<image>",
    "<video>",
    ("vision_tower", "multi_modal_projector"),
    ("vision_tower.", "multi_modal_projector.", "image_newline"),
    tells_time=False,
)
FAMILIES: Mapping[str, Family] = {
    "qwen2_5_vl": Family(tiny_models.qwen2_5_vl, *QWEN, ("visual",), ("visual.",)),
    "qwen3_vl": Family(tiny_models.qwen3_vl, *QWEN, ("visual",), ("model.visual.",)),
    "llava_onevision": ONE_VISION,
}


def image(seed: int, height: int, width: int) -> Image:
    """Patches of colours."""
    colours = np.random.default_rng(seed).integers(
        0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8
    )
    pixels = np.kron(colours, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return Image(
        sha256=f"image {seed}",
        pixels=np.ascontiguousarray(pixels),
        width=width,
        height=height,
        format="png",
    )


def video(seed: int, height: int, width: int, *times_s: float) -> Video:
    frames = np.stack([image(seed + place, height, width).pixels for place in range(len(times_s))])
    return Video(
        sha256=f"video {seed}",
        frames=frames,
        times_s=times_s,
        duration_s=times_s[-1] + 1,
        width=width,
        height=height,
        format="mp4",
        audio=None,
    )


FEW = video(20, 84, 112, 0.0, 0.7, 1.4, 2.1)
CASES: Mapping[str, tuple[Medium, ...]] = {
    "a picture": (image(1, 120, 90),),
    "another": (image(2, 120, 90),),
    "a larger one": (image(3, 200, 310),),
    "a wide one": (image(4, 70, 300),),
    "two pictures": (image(5, 100, 100), image(6, 160, 60)),
    "a video": (FEW,),
    "a slower one": (replace(FEW, times_s=(0.0, 2.5, 5.0, 7.5)),),
    "an odd number of frames, unevenly": (video(30, 120, 60, 0.2, 1.2, 3.4, 5.0, 6.1),),
    "one frame": (video(40, 64, 64, 3.0),),
    "a picture and two videos": (image(7, 90, 90), FEW, video(50, 60, 90, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0)),
}


@dataclass(frozen=True)
class Known:
    """What both engines said of the cases of a family."""

    family: Family
    folder: Path
    rows: Mapping[str, tuple[GeneratorEmbedding, ...]]
    with_tower: Session
    """Steps: the pixels of each case alone, then all embeddings together."""
    without: Session
    """Steps: all embeddings together, twice."""


FILLER = "Some words before the picture. " * 12
"""More tokens than a block of the KV cache has."""


def question(family: Family, media: tuple[Visual, ...]) -> Question:
    marks = (family.video if kind_of(one) is MediaKind.VIDEO else family.image for one in media)
    return Question(f"{FILLER}{' '.join(marks)} What is it?", media)


def kind_of(medium: Visual) -> MediaKind:
    if isinstance(medium, GeneratorEmbedding):
        return medium.kind
    return MediaKind.VIDEO if isinstance(medium, Video) else MediaKind.IMAGE


@pytest.fixture(scope="module", params=FAMILIES)
def known(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Known:
    family = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    family.build(folder)
    tower = open_tower(folder, TOWER)
    rows = {
        name: tuple(
            replace(seen, key=f"{name} {place}")
            for place, seen in enumerate(tower.see([(medium, ()) for medium in media]))
        )
        for name, media in CASES.items()
    }
    pixels = [[question(family, media)] for media in CASES.values()]
    embedded = [question(family, seen) for seen in rows.values()]
    desks = [tmp_path_factory.mktemp("desk") for _ in range(2)]
    with ThreadPoolExecutor() as pool:  # most of their time both are being imported
        with_tower = pool.submit(ask, folder, family.args(pixels=True), [*pixels, embedded], desks[0])
        without = pool.submit(ask, folder, family.args(pixels=False), [embedded, embedded], desks[1])
        return Known(family, folder, rows, with_tower.result(), without.result())


def test_embeddings_say_what_pixels_say(known: Known) -> None:
    *alone, together = known.with_tower.answers
    for place, name in enumerate(CASES):
        (pixels,) = alone[place]
        for embedded in (together[place], known.without.answers[0][place]):
            assert embedded.token_ids == pixels.token_ids, name
            assert embedded.prompt_tokens == pixels.prompt_tokens, name
            np.testing.assert_allclose(embedded.logprobs, pixels.logprobs, atol=1e-4, err_msg=name)


def test_what_is_seen_and_when_changes_what_is_said(known: Known) -> None:
    """Else all of the above would be equal whatever the tower does."""
    said = dict(zip(CASES, known.without.answers[0], strict=True))
    assert not np.allclose(said["a picture"].logprobs, said["another"].logprobs, atol=1e-2)
    faster, slower = said["a video"].logprobs, said["a slower one"].logprobs
    assert np.allclose(faster, slower, atol=1e-4) is not known.family.tells_time


def test_an_engine_that_takes_embeddings_alone_has_no_tower(known: Known) -> None:
    for part in known.family.parts:
        assert known.with_tower.parameters[part] > 1000
        assert known.without.parameters[part] == 0
    assert known.without.parameters["language_model"] == known.with_tower.parameters["language_model"]


def test_keys_hit_the_prefix_cache(known: Known) -> None:
    first, again = known.without.answers
    assert all(answer.cached_tokens >= 256 for answer in again)
    assert [answer.token_ids for answer in again] == [answer.token_ids for answer in first]


def test_prompts_with_media_are_read_in_pieces_beside_a_text(known: Known) -> None:
    pieces = known.without.pieces
    assert max(pieces) == PIECE_TOKENS
    # vLLM's own scheduler reads them in one step.
    assert max(known.with_tower.pieces) > 10 * PIECE_TOKENS


def test_only_the_tower_and_the_projector_are_read(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import safe_open

    read: list[str] = []

    @contextmanager
    def spied(path: Path, framework: str) -> Iterator[SimpleNamespace]:
        with safe_open(path, framework=framework) as file:

            def get_tensor(name: str) -> torch.Tensor:
                read.append(name)
                return cast("torch.Tensor", file.get_tensor(name))

            yield SimpleNamespace(keys=file.keys, get_tensor=get_tensor)

    monkeypatch.setattr("safetensors.safe_open", spied)
    tower = open_tower(known.folder, TOWER)
    monkeypatch.undo()
    whole = sizes(known.folder)
    wanted = {name: size for name, size in whole.items() if name.startswith(known.family.weights)}
    assert sorted(read) == sorted(wanted)
    assert parameters_of(tower) == sum(wanted.values())
    assert len(wanted) < len(whole)


def sizes(folder: Path) -> dict[str, int]:
    """Numbers in each tensor of a checkpoint."""
    from safetensors.torch import load_file

    files = map(load_file, folder.glob("*.safetensors"))
    return {name: tensor.numel() for tensors in files for name, tensor in tensors.items()}


def parameters_of(tower: object) -> int:
    """Numbers in all of its modules."""
    import torch

    held = vars(cast(Tower, tower)._family).values()
    modules = [one for one in held if isinstance(one, torch.nn.Module)]
    return sum(tensor.numel() for module in modules for tensor in module.parameters())


@pytest.fixture(scope="module")
def one_vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one-vision")
    ONE_VISION.build(folder)
    return folder


async def test_pictures_of_two_sizes_in_one_step_do_not_end_the_engine(one_vision: Path) -> None:
    """vLLM's own models of the LLaVA kind want one size in a step: see `multimodal.generation.worker`."""
    from multimodal.generation.engine import VllmEngine

    args = ONE_VISION.args(pixels=False).model_copy(
        update={"dtype": "float32", "max_model_len": 2048, "kv_cache_bytes": 32 << 20}
    )
    seen = open_tower(one_vision, TOWER).see([(image(60 + n, 60 + 40 * n, 90), ()) for n in range(6)])
    assert len({len(one.rows) for one in seen}) > 2
    engine = VllmEngine(one_vision, args)
    try:
        said = await asyncio.gather(*(tell(engine, one) for one in seen))
        assert [one.completion_tokens for one in said] == [8] * len(seen)
        await engine.check_health()
        keyed = replace(seen[0], key="a key")
        first, again = [(await tell(engine, keyed, FILLER)).cached_tokens for _ in range(2)]
        # What all prompts begin with is known already; the picture is when it was seen once.
        assert again - first > len(seen[0].rows)
    finally:
        engine.close()


async def tell(engine: VllmEngine, seen: GeneratorEmbedding, words: str = "What is it?") -> Usage:
    picture = MediaPart(kind=MediaKind.IMAGE, param="0", lines=(FILLER,), visual=0)
    message = PromptMessage(role=Role.USER, parts=(picture, TextPart(text=words)))
    request = GenerateRequest(messages=(message,), sampling=Sampling(max_tokens=8, ignore_eos=True))
    ctx = RequestContext(request_id="test", tenant="local", deadline_s=time.time() + 60)
    steps = [step async for step in engine.generate(ctx, request, [seen])]
    assert steps[-1].usage is not None
    return steps[-1].usage


def test_an_unknown_family_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match="'llava', only llava_onevision, qwen2_5_vl"):
        open_tower(tmp_path, TOWER)


@pytest.mark.parametrize("broken", ["a tensor", "all weights", "the processor"])
def test_a_folder_that_lacks_something_is_refused(one_vision: Path, tmp_path: Path, broken: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(one_vision, folder)
    if broken == "the processor":
        (folder / "processor_config.json").unlink()
    for index in [folder / INDEX_FILE] * (broken != "the processor"):
        listed = json.loads(index.read_text())
        keep = "no such" if broken == "all weights" else "image_newline"
        listed["weight_map"] = {name: file for name, file in listed["weight_map"].items() if keep not in name}
        index.write_text(json.dumps(listed))
        if broken == "all weights":
            for file in folder.glob("*.safetensors"):
                file.unlink()
    with pytest.raises(ConfigError):
        open_tower(folder, TOWER)


def test_one_file_of_weights_is_read_like_several(one_vision: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(one_vision, folder, ignore=shutil.ignore_patterns("*.safetensors", INDEX_FILE))
    files = map(load_file, one_vision.glob("*.safetensors"))
    save_file({name: tensor for tensors in files for name, tensor in tensors.items()}, folder / SINGLE_FILE)
    batch = [(image(1, 90, 90), ())]
    (one,), (several,) = open_tower(folder, TOWER).see(batch), open_tower(one_vision, TOWER).see(batch)
    assert np.array_equal(one.rows, several.rows)


def test_kinds_come_back_in_the_order_of_the_batch(one_vision: Path) -> None:
    tower = open_tower(one_vision, TOWER)
    mixed: list[tuple[Seen, Sequence[float]]] = [
        (FEW, ()),
        (image(1, 90, 90), ()),
        (FEW, ()),
        (image(2, 60, 200), ()),
    ]
    alone = [tower.see([one])[0].rows for one in mixed]
    for together, apart in zip(tower.see(mixed), alone, strict=True):
        np.testing.assert_allclose(together.rows, apart, atol=1e-5)


def test_large_pictures_are_scaled_down_first(one_vision: Path) -> None:
    large, small = (
        open_tower(one_vision, TOWER),
        open_tower(one_vision, TOWER.model_copy(update={"max_pixels": 900})),
    )
    (whole,), (scaled,) = (tower.see([(image(1, 200, 310), ())]) for tower in (large, small))
    assert len(scaled.rows) < len(whole.rows)


def test_what_the_family_cannot_hear_is_refused(one_vision: Path) -> None:
    sound = Audio(sha256="x", samples=np.zeros(1600, np.float32), duration_s=0.1, format="wav")
    with pytest.raises(ConfigError, match="audio"):
        open_tower(one_vision, TOWER).see([(sound, ())])
