"""int8 for convolutional towers on CPUs: weights and activations are bytes, sums have 32 bits.

The scheme is that of Jacob et al. (arXiv 1712.05877): weights symmetric, with a scale for each output
channel; activations with one scale and zero point for each tensor, fixed beforehand, so that no picture's
vector depends on those it shares a batch with. Where nothing but a ReLU lies between two convolutions, values
stay bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import fx, nn

from multimodal.encoders.tracing import called_modules
from multimodal.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

Range: TypeAlias = "tuple[float, float]"
"""Smallest and largest value; zero lies between them."""

CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
"""Not their subclasses: some standardise their weights in use."""
NOTHING = (nn.Identity, nn.Dropout)
"""What changes nothing in evaluation."""
FIRST = 6
"""So many convolutions stay in float32: they have few channels, and what they round away is lost to all that
follow. The embedded tower's vectors have cosines of 0.9986 with those of float32, on average over 256 of
`calibration.pictures` of another seed; with all in bytes (0 here, and `benchmarks.image_encoder` again) it
would be 0.9944, in three quarters of the time."""
LEVELS = 255
LARGEST_WEIGHT = 127
SHARE = 0.5
"""Of a tower's weights; with fewer of them in convolutions there is little to win."""
SMALLEST_SCALE = 1e-8
"""Of what is zero everywhere."""


@dataclass(frozen=True, slots=True)
class Link:
    """A convolution on the way through a tower, by names of modules."""

    conv: str
    relu: str | None
    """What alone reads it, where that is a ReLU, bounded or not, that nothing but convolutions read."""
    readers: tuple[str, ...]
    """Those convolutions."""


@torch.inference_mode()
def quantize(tower: nn.Module, batches: Sequence[torch.Tensor]) -> None:
    """Replace a tower's convolutions by such on bytes. It must be in evaluation mode, on the CPU.

    `batches`, each (n, 3, height, width) float32, stand for all pictures: what they reach in each place is
    what a byte can say there, and what goes beyond is cut off.

    Raises ConfigError where most of the tower's weights are not in convolutions that can be followed, or this
    build of torch has no such arithmetic.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise ConfigError("This build of torch has no int8 on CPUs: set image.compute_type to float32.")
    links = follow(tower)
    convolved = sum(cast("nn.Conv2d", tower.get_submodule(link.conv)).weight.numel() for link in links)
    if convolved < SHARE * sum(weight.numel() for weight in tower.parameters()):
        raise ConfigError(
            "int8 is for image towers of convolutions, and this is none: set image.compute_type to float32."
        )
    seen = observe(tower, [link.conv for link in links], batches)
    emitting = {link.conv: link for link in links if link.readers}
    given_bytes = {reader for link in emitting.values() for reader in link.readers}
    for link in links:
        conv = cast("nn.Conv2d", tower.get_submodule(link.conv))
        following = emitting.get(link.conv)
        if conv.groups > 1 and link.conv not in given_bytes and following is None:
            continue  # there is little to multiply, and to make bytes of its input costs as much
        emits = seen[following.readers[0]] if following else None
        tower.set_submodule(
            link.conv, ByteConv(conv, seen[link.conv], takes_bytes=link.conv in given_bytes, emits=emits)
        )
        if following and following.relu:
            tower.set_submodule(following.relu, nn.Identity())


def follow(tower: nn.Module) -> list[Link]:
    """The convolutions that are called once, but for the first; none where the way depends on the input."""
    called = called_modules(tower, lambda part: type(part) in CONVOLUTIONS)
    calls = Counter(called.values())
    once = {node: part for node, part in called.items() if calls[part] == 1 or isinstance(part, NOTHING)}
    convs = [node for node, part in once.items() if _is_plain(part)][FIRST:]
    return [_link(node, once, frozenset(convs)) for node in convs]


def _is_plain(part: nn.Module) -> bool:
    if type(part) not in CONVOLUTIONS:
        return False
    conv = cast("nn.Conv2d", part)
    return conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


def _link(node: fx.Node, once: Mapping[fx.Node, nn.Module], convs: frozenset[fx.Node]) -> Link:
    reading = list(_readers(node, once))
    if len(reading) == 1 and _is_relu(once.get(reading[0])):
        after = list(_readers(reading[0], once))
        if after and convs.issuperset(after):
            return Link(str(node.target), str(reading[0].target), tuple(str(one.target) for one in after))
    return Link(str(node.target), None, ())


def _readers(node: fx.Node, once: Mapping[fx.Node, nn.Module]) -> Iterator[fx.Node]:
    """What reads it, behind all that changes nothing."""
    for user in node.users:
        if isinstance(once.get(user), NOTHING):
            yield from _readers(user, once)
        else:
            yield user


def _is_relu(part: nn.Module | None) -> bool:
    return type(part) is nn.ReLU or (isinstance(part, nn.Hardtanh) and part.min_val == 0)


def observe(tower: nn.Module, convs: Sequence[str], batches: Sequence[torch.Tensor]) -> dict[str, Range]:
    """What each of these convolutions is given."""
    seen = dict.fromkeys(convs, (0.0, 0.0))

    def note(name: str, given: torch.Tensor) -> None:
        (low, high), (least, most) = seen[name], given.aminmax()
        seen[name] = min(low, float(least)), max(high, float(most))

    hooks = [
        tower.get_submodule(name).register_forward_pre_hook(lambda _, given, name=name: note(name, given[0]))
        for name in convs
    ]
    try:
        for batch in batches:
            tower(batch)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


class ByteConv(nn.Module):
    """A convolution on bytes, by oneDNN."""

    def __init__(self, conv: nn.Conv2d, given: Range, *, takes_bytes: bool, emits: Range | None) -> None:
        """`given`: the range of its input. `takes_bytes`: that is bytes already. `emits`: it is followed by a
        ReLU, which this does too, and what comes of it is bytes of this range; None: it is float32."""
        super().__init__()
        self._scale, self._zero_point = scale_of(given)
        self._takes_bytes = takes_bytes
        # Adding this and cutting off what follows the point is rounding.
        self._to_round = torch.tensor(self._zero_point + 0.5)
        weight_scales = (conv.weight.abs().amax((1, 2, 3)) / LARGEST_WEIGHT).clamp_min(SMALLEST_SCALE)
        weight = (conv.weight / weight_scales[:, None, None, None]).round().to(torch.int8)
        self._kernel, self._pads = list(conv.kernel_size), type(conv) is Conv2dSame
        padding = [0, 0] if self._pads else list(cast("tuple[int, int]", conv.padding))
        self._way = (list(conv.stride), padding, list(conv.dilation), conv.groups)
        packed = torch.ops.onednn.qconv_prepack(
            weight, weight_scales, self._scale, self._zero_point, *self._way, None
        )
        zero_points = torch.zeros(len(weight_scales), dtype=torch.int32)
        self._weight = (packed, weight_scales, zero_points, conv.bias)
        # Bytes end where the ReLU would cut off: their zero is the lowest, their highest what it let pass.
        scale, zero_point = (1.0, 0) if emits is None else scale_of(emits)
        self._out = (scale, zero_point, torch.float32 if emits is None else torch.uint8)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """(n, channels, height, width), float32 or bytes, to the same."""
        if not self._takes_bytes:
            rounding = torch.add(self._to_round, given, alpha=1 / self._scale)
            given = rounding.clamp_(0, LEVELS).to(torch.uint8)
        if self._pads:
            stride, _, dilation, _ = self._way
            given = pad_same(given, self._kernel, stride, dilation, value=self._zero_point)
        found = torch.ops.onednn.qconv_pointwise(
            given, self._scale, self._zero_point, *self._weight, *self._way, *self._out, "none", [], ""
        )
        return cast("torch.Tensor", found)


def scale_of(values: Range) -> tuple[float, int]:
    """What one level of a byte is worth, and which level is zero."""
    low, high = values
    scale = max((high - low) / LEVELS, SMALLEST_SCALE)
    return scale, round(-low / scale)
