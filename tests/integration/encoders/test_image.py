"""Image towers of tiny open_clip checkpoints against open_clip's own way of running them."""

import json
import math
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip  # type: ignore[import-untyped]
import PIL.Image
import PIL.ImageDraw
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip.transform import (  # type: ignore[import-untyped]
    PreprocessCfg,
    ResizeKeepRatio,
    image_transform_v2,
)
from safetensors.torch import load_file, save_file
from timm.layers.std_conv import StdConv2d
from torchvision.transforms import functional  # type: ignore[import-untyped]

from benchmarks import image_encoder as benchmark
from benchmarks import open_clip_way
from multimodal.encoders.checkpoint import load_vision_tower, read_checkpoint
from multimodal.encoders.image import OpenClipImageEncoder, Preprocess, fold_batch_norms, resized_size
from multimodal.errors import ConfigError
from multimodal.types import Image
from tests.integration.encoders.checkpoints import (
    EMBED_DIM,
    NARROW,
    PREPROCESS,
    RESNET,
    TIMM,
    VIT,
    Config,
    build,
)

WEIGHTS = "open_clip_model.safetensors"


def pictures() -> list[Image]:
    """Noise and gradients of several shapes and sizes."""
    rng = np.random.default_rng(3)
    noise = [
        rng.integers(0, 256, (height, width, 3), np.uint8) for height, width in ((40, 90), (32, 32), (7, 5))
    ]
    ramp = np.linspace(0, 255, 120 * 80 * 3).reshape(120, 80, 3).astype(np.uint8)
    return [picture(pixels) for pixels in (*noise, ramp)]


def picture(pixels: NDArray[np.uint8]) -> Image:
    height, width, _ = pixels.shape
    return Image(sha256=str(pixels.shape), pixels=pixels, width=width, height=height, format="png")


def reference(folder: Path, images: list[Image]) -> NDArray[np.float32]:
    """What open_clip makes of pictures, all by itself and one by one."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    found = []
    with torch.inference_mode():
        for image in images:
            pixels: torch.Tensor = preprocess(PIL.Image.fromarray(image.pixels))
            vector: torch.Tensor = model.eval().encode_image(pixels[None], normalize=True)
            found.append(vector[0].numpy())
    return np.stack(found)


def vectors(encoder: OpenClipImageEncoder, images: list[Image]) -> NDArray[np.float32]:
    found = [features.vector for features in encoder.encode(images)]
    return np.stack([vector for vector in found if vector is not None])


@pytest.mark.parametrize(
    ("vision", "options"),
    [
        (VIT, {}),
        (VIT, {"custom_text": False}),
        (VIT, {"quick_gelu": True}),
        (RESNET, {}),
        (TIMM, {}),
        (VIT, {"preprocess": {**PREPROCESS, "interpolation": "bicubic", "resize_mode": "shortest"}}),
        (VIT, {"preprocess": {**PREPROCESS, "resize_mode": "longest", "fill_color": 128}}),
        (VIT, {"preprocess": {}}),
    ],
    ids=["vit", "clip class", "quick gelu", "resnet", "timm", "cropped", "padded", "default preprocessing"],
)
def test_vectors_are_those_of_open_clip(
    tmp_path: Path, no_network: None, vision: Config, options: dict[str, bool]
) -> None:
    folder = build(tmp_path, vision, **options)  # type: ignore[arg-type]
    images = pictures()
    found = vectors(OpenClipImageEncoder(folder), images)
    expected = reference(folder, images)
    assert found.dtype == np.float32
    assert found.shape == (len(images), EMBED_DIM)
    assert (found * expected).sum(axis=1) == pytest.approx(1, abs=1e-5)


# --- preprocessing -------------------------------------------------------------------------------


def photograph(height: int, width: int) -> Image:
    """Noise with a spectrum like a photograph's (amplitude falls with frequency), and some grain."""
    rng = np.random.default_rng(5)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency
    values = np.fft.irfft2(spectrum, (height, width)).transpose(1, 2, 0)
    scaled = 120 + 50 * (values - values.mean()) / values.std() + rng.normal(0, 6, values.shape)
    return picture(scaled.clip(0, 255).astype(np.uint8))


def drawing(height: int, width: int) -> Image:
    """Flat shapes with hard edges, and fine black lines."""
    image = PIL.Image.new("RGB", (width, height), "ivory")
    draw = PIL.ImageDraw.Draw(image)
    draw.ellipse([width // 5, height // 8, width // 2, height // 2], fill="red", outline="black")
    draw.rectangle([width // 3, height // 3, width - 5, height - 9], fill="navy")
    for y in range(0, height, 3):
        draw.line([0, y, width // 4, y], fill="black")
    return picture(np.asarray(image))


SIZES = [(50, 70), (64, 64), (301, 200), (480, 640), (1200, 700)]


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("resize_mode", ["longest", "shortest", "squash"])
def test_preprocessing_differs_from_that_of_open_clip_by_rounding_at_most(
    tmp_path: Path, resize_mode: str, interpolation: str
) -> None:
    options: Config = {"resize_mode": resize_mode, "interpolation": interpolation, "fill_color": 77}
    checkpoint = read_checkpoint(build(tmp_path, preprocess={**PREPROCESS, **options}))
    ours = Preprocess(checkpoint, load_vision_tower(checkpoint), "cpu")
    theirs = image_transform_v2(PreprocessCfg(size=32, **checkpoint.preprocess), is_train=False)
    images = [paint(*size) for paint in (photograph, drawing) for size in SIZES]
    expected = torch.stack([theirs(PIL.Image.fromarray(image.pixels)) for image in images])
    levels = (ours(images) - expected).abs() * 255 * torch.tensor(PREPROCESS["std"]).reshape(3, 1, 1)
    assert levels.max() < 1.01
    assert levels.mean() < 0.01


@given(
    picture=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    target=st.tuples(st.integers(8, 400), st.integers(8, 400)),
)
def test_pictures_are_resized_to_the_pixel_as_open_clip_does(
    picture: tuple[int, int], target: tuple[int, int]
) -> None:
    image = SimpleNamespace(size=picture[::-1])
    longest, shortest = (ResizeKeepRatio.get_params(image, target, longest) for longest in (1.0, 0.0))
    assert resized_size(picture, target, "longest") == tuple(max(1, side) for side in longest)
    assert resized_size(picture, target, "squash") == target
    if target[0] != target[1]:
        assert resized_size(picture, target, "shortest") == tuple(shortest)


@given(picture=st.tuples(st.integers(1, 3000), st.integers(1, 3000)), side=st.integers(8, 400))
def test_to_crop_a_square_pictures_are_resized_as_torchvision_does(
    picture: tuple[int, int], side: int
) -> None:
    resized = functional.resize(torch.empty(3, *picture, device="meta"), side)
    assert resized_size(picture, (side, side), "shortest") == tuple(resized.shape[1:])


def test_a_line_that_open_clip_cannot_resize_has_a_vector(tmp_path: Path) -> None:
    folder = build(tmp_path, preprocess={**PREPROCESS, "resize_mode": "longest"})
    line = picture(np.full((1, 900, 3), 7, np.uint8))
    with pytest.raises(ValueError, match="must be > 0"):
        reference(folder, [line])
    assert np.isfinite(vectors(OpenClipImageEncoder(folder), [line])).all()


def test_pixels_may_be_read_only_or_a_view(tmp_path: Path) -> None:
    encoder, pixels = OpenClipImageEncoder(build(tmp_path)), pictures()[0].pixels
    frozen = pixels.copy()
    frozen.setflags(write=False)
    flipped = pixels[::-1, ::-1].copy()[::-1, ::-1]
    found = vectors(encoder, [picture(one) for one in (pixels, frozen, flipped)])
    assert np.array_equal(found[1:], found[[0, 0]])


@pytest.mark.parametrize("option", [{"resize_mode": "stretch"}, {"interpolation": "nearest"}])
def test_a_way_of_resizing_that_open_clip_does_not_have_is_an_error(
    tmp_path: Path, option: dict[str, str]
) -> None:
    folder = build(tmp_path, preprocess={**PREPROCESS, **option})
    with pytest.raises(ConfigError, match="preprocess_cfg"):
        OpenClipImageEncoder(folder)


# --- convolutional towers ------------------------------------------------------------------------


def trained(tower: torch.nn.Module) -> torch.nn.Module:
    """Batch normalisations get statistics and weights as if they had been trained."""
    torch.manual_seed(11)
    for part in tower.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            for value, low, high in ((part.running_var, 0.5, 2), (part.weight, 0.5, 1.5)):
                torch.nn.init.uniform_(value, low, high)  # type: ignore[arg-type]
            for value in (part.running_mean, part.bias):
                torch.nn.init.normal_(value, 0, 0.3)  # type: ignore[arg-type]
    return tower.eval()


def build_cnn(folder: Path, name: str) -> Path:
    build(folder, {**TIMM, "timm_model_name": name})
    tower = trained(load_vision_tower(read_checkpoint(folder)))
    saved = {f"visual.{key}": value for key, value in tower.state_dict().items()}
    edit_weights(folder, lambda tensors: {**tensors, **saved})
    return folder


def norms(tower: torch.nn.Module) -> int:
    return sum(isinstance(part, torch.nn.BatchNorm2d) for part in tower.modules())


CNNS = ["test_resnet", "test_efficientnet", "tf_efficientnet_lite0"]


@pytest.mark.parametrize("name", CNNS)
def test_vectors_of_a_convolutional_tower_are_those_of_open_clip(tmp_path: Path, name: str) -> None:
    folder = build_cnn(tmp_path, name)
    images = [paint(*size) for paint in (photograph, drawing) for size in SIZES]
    found = vectors(OpenClipImageEncoder(folder), images)
    expected = reference(folder, images)
    assert (found * expected).sum(axis=1).min() >= 0.999


@pytest.mark.parametrize("name", CNNS)
def test_folding_leaves_no_batch_norm_and_the_same_output(name: str) -> None:
    tower = trained(timm.create_model(name))
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected = tower(pixels)
    fold_batch_norms(tower)
    assert norms(tower) == 0
    with torch.inference_mode():
        torch.testing.assert_close(tower(pixels), expected, rtol=1e-4, atol=1e-4)


class TwoReaders(torch.nn.Module):
    """The convolution's output is read by two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(pixels)
        normed: torch.Tensor = self.norm(found)
        return found + normed


class TwoCalls(torch.nn.Module):
    """One convolution, two normalisations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 3, 1)
        self.first, self.second = torch.nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.second(self.conv(self.first(self.conv(pixels))))
        return found


class ManyWays(torch.nn.Module):
    """Its way depends on the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.norm(self.conv(pixels))
        return found if found.sum() > 0 else -found


@pytest.mark.parametrize(
    "tower",
    [
        TwoReaders(),
        TwoCalls(),
        ManyWays(),
        torch.nn.Sequential(StdConv2d(3, 4, 1), torch.nn.BatchNorm2d(4)),
        torch.nn.Sequential(torch.nn.BatchNorm2d(3), torch.nn.Conv2d(3, 4, 1)),
    ],
    ids=["two readers", "two calls", "many ways", "standardised weights", "norm first"],
)
def test_what_cannot_be_folded_stays_as_it_is(tower: torch.nn.Module) -> None:
    pixels, count = torch.rand(2, 3, 8, 8), norms(trained(tower))
    expected = tower(pixels)
    fold_batch_norms(tower)
    assert norms(tower) == count
    assert torch.equal(tower(pixels), expected)


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def test_a_batch_reuses_the_memory_of_the_one_before(tmp_path: Path) -> None:
    folder = build(tmp_path, {**TIMM, "timm_model_name": "tf_efficientnet_lite0", "image_size": 96})
    encoder, images = OpenClipImageEncoder(folder), [drawing(64, 64)] * 16
    for _ in range(3):
        encoder.vectors(images)
    before = page_faults()
    for _ in range(5):
        encoder.vectors(images)
    # A batch computes in about 9,000 pages.
    assert page_faults() - before < 5_000


def test_both_sides_of_the_benchmark_take_turns_on_the_same_pictures(tmp_path: Path) -> None:
    options = benchmark.Options(
        folder=build_cnn(tmp_path, "test_resnet"), batch_items=2, threads=torch.get_num_threads(), seconds=0
    )
    speed = benchmark.measure(options, 64)
    assert speed["smallest_cosine"] > 0.999
    assert {name: len(turns["seconds"]) for name, turns in speed["turns"].items()} == dict.fromkeys(
        ("vectors", "encode", "open_clip", benchmark.INT8), 1
    )
    assert all(one.ratio.value > 0 for one in benchmark.findings([speed], options.batch_items))


def test_the_benchmark_refuses_to_compare_what_is_not_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = benchmark.Options(
        folder=build(tmp_path), batch_items=2, threads=torch.get_num_threads(), seconds=0
    )
    monkeypatch.setattr(OpenClipImageEncoder, "vectors", lambda self, images: torch.eye(2, EMBED_DIM))
    with pytest.raises(RuntimeError, match="vectors are not those"):
        benchmark.measure(options, 64)


def test_the_benchmark_holds_both_towers_of_open_clip(tmp_path: Path) -> None:
    model = open_clip_way.whole_model(read_checkpoint(build(tmp_path / "own")))
    assert {name for name, _ in model.named_children()} >= {"visual", "text"}
    elsewhere = build(tmp_path / "elsewhere", saved_text={"hf_model_name": "../nowhere"})
    with pytest.raises(ConfigError, match="nowhere"):
        open_clip_way.whole_model(read_checkpoint(elsewhere))


def test_vectors_have_unit_length_and_tell_pictures_apart(tmp_path: Path) -> None:
    found = vectors(OpenClipImageEncoder(build(tmp_path)), pictures())
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)
    similar = found @ found.T - np.eye(len(found))
    assert similar.max() < 0.9999


def test_a_batch_gives_what_each_picture_gives_alone(tmp_path: Path) -> None:
    encoder, images = OpenClipImageEncoder(build(tmp_path)), pictures()
    alone = np.concatenate([vectors(encoder, [image]) for image in images])
    assert vectors(encoder, images) == pytest.approx(alone, abs=1e-5)


def test_size_and_colours_come_with_the_vector(tmp_path: Path) -> None:
    red = Image(
        sha256="r", pixels=np.full((9, 9, 3), (200, 0, 0), np.uint8), width=90, height=90, format="png"
    )
    (features,) = OpenClipImageEncoder(build(tmp_path)).encode([red])
    assert (features.sha256, features.width, features.colours[0].name) == ("r", 90, "red")


def scale_of(folder: Path) -> float | None:
    return OpenClipImageEncoder(folder).encode(pictures()[:1])[0].logit_scale


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize(
    ("saved", "expected"), [(math.log(30), 30), (0.0, 1), (math.log(100.1), 100), (9, 100)]
)
def test_similarities_are_scaled_as_the_checkpoint_says_but_not_by_more_than_a_hundred(
    tmp_path: Path, saved: float, expected: float, shape: tuple[int, ...]
) -> None:
    folder = build(tmp_path)
    edit_weights(folder, lambda tensors: {**tensors, "logit_scale": torch.full(shape, saved)})
    assert scale_of(folder) == pytest.approx(expected, rel=1e-5)


def test_without_a_scale_of_its_own_a_checkpoint_has_the_one_that_open_clip_begins_with(
    tmp_path: Path,
) -> None:
    folder = build(tmp_path)
    assert scale_of(folder) == pytest.approx(1 / 0.07, rel=1e-5)
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if k != "logit_scale"})
    assert scale_of(folder) == pytest.approx(1 / 0.07, rel=1e-5)


@pytest.mark.parametrize("saved", [torch.tensor(float("nan")), torch.tensor(float("inf")), torch.ones(2)])
def test_a_scale_that_is_no_number_is_an_error(tmp_path: Path, saved: torch.Tensor) -> None:
    folder = build(tmp_path)
    edit_weights(folder, lambda tensors: {**tensors, "logit_scale": saved})
    with pytest.raises(ConfigError, match="logit_scale"):
        OpenClipImageEncoder(folder)


def test_a_text_tower_that_cannot_be_built_does_not_matter(tmp_path: Path, no_network: None) -> None:
    folder = build(tmp_path, saved_text={"hf_model_name": "someone/some-text-model", "context_length": 9})
    assert vectors(OpenClipImageEncoder(folder), pictures()).shape == (4, EMBED_DIM)


def test_weights_of_the_image_tower_alone_are_enough(tmp_path: Path) -> None:
    folder = build(tmp_path)
    before = vectors(OpenClipImageEncoder(folder), pictures())
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if k.startswith("visual.")})
    assert np.array_equal(vectors(OpenClipImageEncoder(folder), pictures()), before)


@pytest.mark.parametrize("dropped", ["visual.", "visual.conv1.weight"])
def test_missing_weights_are_an_error(tmp_path: Path, dropped: str) -> None:
    folder = build(tmp_path)
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(dropped)})
    with pytest.raises(ConfigError, match="does not fit"):
        OpenClipImageEncoder(folder)


def test_weights_of_another_shape_are_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["width"] = 48
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="does not fit"):
        OpenClipImageEncoder(folder)


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (folder / WEIGHTS).write_bytes(b"not a safetensors file")
    with pytest.raises(ConfigError, match="does not fit"):
        OpenClipImageEncoder(folder)


def test_an_option_that_open_clip_does_not_know_is_an_error(tmp_path: Path) -> None:
    folder = build(tmp_path)
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["no_such_option"] = 1
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="option"):
        OpenClipImageEncoder(folder)


def test_no_pictures_need_no_forward_pass(tmp_path: Path) -> None:
    assert OpenClipImageEncoder(build(tmp_path, text=NARROW)).encode([]) == []


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    save_file(edit(load_file(folder / WEIGHTS)), folder / WEIGHTS)
