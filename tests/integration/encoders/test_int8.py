"""Image towers in int8 against the same in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from benchmarks import image_encoder as benchmark
from multimodal import config
from multimodal.encoders import calibration, image, int8
from multimodal.encoders.concepts import load_bank
from multimodal.encoders.image import OpenClipImageEncoder
from multimodal.encoders.int8 import ByteConv, Link
from multimodal.errors import ConfigError
from multimodal.models.refs import EmbeddedRef, resolve
from multimodal.models.store import ModelStore
from tests.integration.encoders.checkpoints import TIMM, VIT, build


@pytest.fixture(scope="module")
def folder() -> Path:
    """The embedded image tower."""
    ModelStore(config.home()).pull(EmbeddedRef("image-tower"))
    return resolve("embedded:image-tower", config.home())


@pytest.fixture(scope="module")
def exact(folder: Path) -> OpenClipImageEncoder:
    return OpenClipImageEncoder(folder)


@pytest.fixture(scope="module")
def near(folder: Path) -> OpenClipImageEncoder:
    return OpenClipImageEncoder(folder, compute_type="int8")


OTHERS = calibration.pictures(48, seed=3)
"""Not those that int8 was calibrated with."""


def test_vectors_are_near_those_of_float32(exact: OpenClipImageEncoder, near: OpenClipImageEncoder) -> None:
    cosines = (exact.vectors(OTHERS) * near.vectors(OTHERS)).sum(dim=1)
    assert cosines.min() > 0.985
    assert cosines.mean() > 0.997
    assert cosines.max() < 1 - 1e-6, "nothing was rounded"


def test_pictures_that_are_recognised_get_the_same_name(
    folder: Path, exact: OpenClipImageEncoder, near: OpenClipImageEncoder
) -> None:
    bank = load_bank(folder)
    names = []
    for encoder in (exact, near):
        found = [bank.recognise(one.numpy(), 100, 1) for one in encoder.vectors(OTHERS)]
        names.append([one[0].name if one else None for one in found])
    assert np.mean([a == b for a, b in zip(*names, strict=True)]) >= 0.85


def test_a_vector_does_not_depend_on_the_batch(near: OpenClipImageEncoder) -> None:
    alone = torch.cat([near.vectors([one]) for one in OTHERS[:8]])
    # Sums in float32, of the first convolutions, depend on it by a rounding, which can be a byte's.
    assert (alone * near.vectors(OTHERS)[:8]).sum(dim=1).min() > 0.9999


def test_the_same_folder_gives_the_same_vectors(folder: Path, near: OpenClipImageEncoder) -> None:
    again = OpenClipImageEncoder(folder, compute_type="int8")
    assert torch.equal(again.vectors(OTHERS[:4]), near.vectors(OTHERS[:4]))


def test_a_tower_that_becomes_another_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "LEAST_COSINE", 0.9999)
    with pytest.raises(ConfigError, match=r"go down to 0\.\d\d\. Set image\.compute_type to float32"):
        OpenClipImageEncoder(folder, compute_type="int8")


@pytest.mark.parametrize("vision", [VIT, TIMM], ids=["vit", "timm vit"])
def test_a_transformer_is_refused(tmp_path: Path, vision: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="image towers of convolutions"):
        OpenClipImageEncoder(build(tmp_path, vision), compute_type="int8")


def test_a_tower_that_says_no_numbers_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path, {**TIMM, "timm_model_name": "test_resnet"})
    weights = folder / "open_clip_model.safetensors"
    tensors = load_file(weights)
    save_file(
        {**tensors, "visual.head.proj.weight": tensors["visual.head.proj.weight"] * float("nan")}, weights
    )
    with pytest.raises(ConfigError, match="go down to nan"):
        OpenClipImageEncoder(folder, compute_type="int8")


def test_a_build_of_torch_without_such_arithmetic_is_told_from_a_tower(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.mkldnn.is_available", lambda: False)
    with pytest.raises(ConfigError, match="This build of torch has no int8"):
        OpenClipImageEncoder(folder, compute_type="int8")


def test_int8_is_for_cpus() -> None:
    with pytest.raises(ValidationError, match=r"image\.device is 'cuda': set float32"):
        config.ImageArgs(compute_type="int8", device="cuda")


def test_the_benchmark_says_how_accurate_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "ACCURACY_PICTURES", 16)
    options = benchmark.Options(
        folder=folder, batch_items=8, threads=torch.get_num_threads(), seconds=0, pairs=1
    )
    found = benchmark.accuracy(options)
    assert found is not None
    assert 0.98 < found["lowest_cosine"] < found["mean_cosine"] < 1
    assert benchmark.INT8 in benchmark.measure(options, 64)["turns"]


def test_the_benchmark_goes_without_where_a_tower_cannot_be_run_so(tmp_path: Path) -> None:
    options = benchmark.Options(folder=build(tmp_path), batch_items=2, threads=1, seconds=0)
    assert benchmark.accuracy(options) is None


# --- what is replaced ----------------------------------------------------------------------------


class Tower(nn.Module):
    """Six convolutions, and then those that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(int8.FIRST)))
        self.wide, self.act = nn.Conv2d(3, 8, 1), nn.ReLU6()
        self.drop, self.deep = nn.Dropout(), Conv2dSame(8, 8, 3, stride=2, groups=8)
        self.shared = nn.ReLU()
        self.narrow, self.branch = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 1, padding="same")
        self.lonely = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.both = nn.ReLU()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        given = self.drop(self.act(self.wide(self.first(pixels))))
        given = self.shared(self.deep(given))
        given = self.shared(self.narrow(given))
        given = self.branch(given)
        found: torch.Tensor = self.both(self.lonely(given))
        left: torch.Tensor = self.left(found)
        right: torch.Tensor = self.right(found)
        return left + right


def test_bytes_go_on_where_a_relu_alone_lies_between() -> None:
    links = int8.follow(Tower().eval())
    assert links == [
        Link("wide", "act", ("deep",)),
        Link("deep", None, ()),  # its ReLU is used again
        Link("narrow", None, ()),
        Link("lonely", "both", ("left", "right")),
        Link("left", None, ()),
        Link("right", None, ()),
    ]


def test_a_tower_of_many_kinds_of_convolutions_says_nearly_the_same() -> None:
    torch.manual_seed(5)
    tower = Tower().eval()
    batch = torch.randn(8, 3, 12, 12)
    with torch.inference_mode():
        expected = tower(batch)
    int8.quantize(tower, [batch])
    replaced = {name for name, part in tower.named_children() if isinstance(part, ByteConv)}
    assert replaced == {"wide", "deep", "narrow", "lonely", "left", "right"}
    assert isinstance(tower.act, nn.Identity)
    assert isinstance(tower.shared, nn.ReLU)
    assert tower.wide(tower.first(batch)).dtype is torch.uint8
    with torch.inference_mode():
        found = tower(batch)
    assert (found - expected).abs().max() < 0.03 * expected.abs().max()


def test_a_depthwise_convolution_between_others_stays_as_it_is() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(*(nn.Conv2d(4, 4, 1) for _ in range(int8.FIRST)))
            self.deep, self.last = nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 64, 3)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.last(self.deep(self.first(pixels)))
            return found

    tower = Plain().eval()
    int8.quantize(tower, [torch.randn(2, 4, 8, 8)])
    assert not isinstance(tower.deep, ByteConv)
    assert isinstance(tower.last, ByteConv)


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "tf_efficientnet_lite0"])
def test_towers_of_timm_can_be_followed(name: str) -> None:
    tower = timm.create_model(name, num_classes=0).eval()
    image.fold_batch_norms(tower)
    links = int8.follow(tower)
    convs = sum(isinstance(part, nn.Conv2d) for part in tower.modules())
    assert len(links) == convs - int8.FIRST
    with torch.inference_mode():
        expected = tower(batch := torch.rand(4, 3, 64, 64))
    int8.quantize(tower, [batch])
    with torch.inference_mode():
        cosines = torch.nn.functional.cosine_similarity(tower(batch), expected)
    assert cosines.min() > 0.9


def test_a_way_that_depends_on_the_picture_cannot_be_followed() -> None:
    class ManyWays(nn.Sequential):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self[0](pixels)
            return found if found.sum() > 0 else -found

    tower = ManyWays(*(nn.Conv2d(3, 3, 1) for _ in range(9))).eval()
    assert int8.follow(tower) == []
    with pytest.raises(ConfigError, match="image towers of convolutions"):
        int8.quantize(tower, [torch.rand(1, 3, 4, 4)])


# --- one convolution -----------------------------------------------------------------------------


def rounded(values: torch.Tensor, scale: float, zero_point: int) -> torch.Tensor:
    """What bytes can say of these."""
    return ((values / scale + zero_point + 0.5).floor().clamp(0, 255) - zero_point) * scale


@settings(max_examples=60, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 3),
    channels=st.sampled_from([(3, 5, 1), (8, 8, 8), (8, 16, 4), (1, 1, 1)]),
    same=st.booleans(),
    bias=st.booleans(),
    low=st.sampled_from([0.0, -1.0, -30.0]),
    side=st.integers(9, 14),
)
def test_it_computes_what_rounded_values_and_weights_say(
    kernel: int,
    stride: int,
    dilation: int,
    padding: int,
    channels: tuple[int, int, int],
    same: bool,
    bias: bool,
    low: float,
    side: int,
) -> None:
    torch.manual_seed(kernel + 10 * stride)
    (inputs, outputs, groups), kind = channels, Conv2dSame if same else nn.Conv2d
    conv = kind(
        inputs, outputs, kernel, stride, 0 if same else padding, dilation, groups=groups, bias=bias
    ).requires_grad_(False)
    values = torch.empty(2, inputs, side, side + 1).uniform_(low, 2)
    byte_conv = ByteConv(conv, (low, 2.0), takes_bytes=False, emits=None)
    scales = conv.weight.abs().amax((1, 2, 3), keepdim=True) / 127
    conv.weight.copy_((conv.weight / scales).round() * scales)
    module: nn.Module = conv
    expected: torch.Tensor = module(rounded(values, *int8.scale_of((low, 2.0))))
    torch.testing.assert_close(
        byte_conv(values), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
    )


def test_bytes_in_and_bytes_out() -> None:
    torch.manual_seed(2)
    conv = nn.Conv2d(4, 6, 3, padding=1).requires_grad_(False)
    given_bytes = torch.randint(0, 256, (1, 4, 7, 7), dtype=torch.uint8)
    exact = ByteConv(conv, (0.0, 6.0), takes_bytes=True, emits=None)(given_bytes)
    found = ByteConv(conv, (0.0, 6.0), takes_bytes=True, emits=(0.0, 1.5))(given_bytes)
    assert found.dtype is torch.uint8
    # A ReLU and a bound, both by the byte's ends.
    assert (found.float() * 1.5 / 255 - exact.clamp(0, 1.5)).abs().max() <= 0.51 * 1.5 / 255
    assert found.min() == 0
    assert found.max() == 255


def test_what_is_zero_everywhere_stays_zero() -> None:
    conv = nn.Conv2d(2, 2, 1, bias=False).requires_grad_(False)
    conv.weight.zero_()
    found = ByteConv(conv, (0.0, 0.0), takes_bytes=False, emits=None)(torch.zeros(1, 2, 3, 3))
    assert torch.equal(found, torch.zeros(1, 2, 3, 3))


# --- calibration ---------------------------------------------------------------------------------


def test_pictures_for_calibration_are_the_same_each_time_and_each_another() -> None:
    first, again = calibration.pictures(12), calibration.pictures(12)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert len({one.pixels.tobytes() for one in first}) == 12
    assert {one.pixels.shape for one in first} == {(calibration.HEIGHT_PX, calibration.WIDTH_PX, 3)}
    assert {one.pixels.dtype for one in first} == {np.dtype(np.uint8)}
