"""What this machine can do at most, products and copies, measured in the run that is compared with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    import torch

Number: TypeAlias = Literal["float32", "bfloat16", "int8"]
"""What is multiplied."""
NUMBERS: tuple[Number, ...] = get_args(Number)

SIDE = 2048
"""Of square matrices: larger ones are not faster, and smaller ones do not fill the caches."""
COPIED_BYTES = 256 << 20
"""Several times the last level of cache."""
REPEATS = 7
QUICK_REPEATS = 3

GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The best of several tries, with the threads that torch has in this process."""

    flops_per_s: Mapping[str, float]
    """By Number; one that torch cannot multiply here is missing."""
    bytes_per_s: float
    """Read and written by a copy."""
    threads: int

    def share(self, flops: float, seconds: float, number: Number) -> float:
        """How much of the peak of these numbers was used. KeyError where there is none."""
        return flops / seconds / self.flops_per_s[number]

    def share_of_bandwidth(self, moved_bytes: float, seconds: float) -> float:
        """How much of the bandwidth was used."""
        return moved_bytes / seconds / self.bytes_per_s

    def as_json(self) -> dict[str, object]:
        """For the results file."""
        return asdict(self)

    def facts(self) -> dict[str, float]:
        """For the report."""
        peaks = {
            f"GEMM peak, {number}, GFLOP/s": round(value / GIGA, 1)
            for number, value in self.flops_per_s.items()
        }
        return {**peaks, "memory bandwidth, GB/s": round(self.bytes_per_s / GIGA, 1)}


def measure(*, quick: bool = False) -> Limits:
    """All of them."""
    import torch

    repeats = QUICK_REPEATS if quick else REPEATS
    peaks = {number: gemm_flops_per_s(number, repeats) for number in NUMBERS}
    return Limits(
        flops_per_s={number: peak for number, peak in peaks.items() if peak is not None},
        bytes_per_s=copied_bytes_per_s(repeats),
        threads=torch.get_num_threads(),
    )


def gemm_flops_per_s(number: Number, repeats: int, side: int = SIDE) -> float | None:
    """Of a product of square matrices, an addition counted like a multiplication. None where torch cannot.

    By the faster of torch's libraries.
    """
    times_s = []
    for prepared in (_product, _onednn_product):
        with suppress(RuntimeError, NotImplementedError):
            times_s.append(best_s(prepared(number, side), repeats))
    return 2 * side**3 / min(times_s) if times_s else None


def _product(number: Number, side: int) -> Callable[[], object]:
    import torch

    if number == "int8":
        bytes_ = torch.randint(-128, 128, (side, side), dtype=torch.int8)
        return lambda: torch._int_mm(bytes_, bytes_)
    values = torch.randn(side, side).to(getattr(torch, number))
    return lambda: values @ values


def _onednn_product(number: Number, side: int) -> Callable[[], object]:
    """In float32 torch prefers MKL, which leaves AVX-512 unused on AMD: 110 GFLOP/s, oneDNN 240."""
    import torch

    if number == "int8":
        raise NotImplementedError("Torch has no such tensors of oneDNN; its own product is oneDNN's already.")
    values = torch.randn(side, side).to(getattr(torch, number)).to_mkldnn()
    return lambda: torch.nn.functional.linear(values, values)


def copied_bytes_per_s(repeats: int, size_bytes: int = COPIED_BYTES) -> float:
    """Of a copy too large for the caches: each byte is read and written."""
    import torch

    source = torch.ones(size_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * size_bytes / best_s(lambda: target.copy_(source), repeats)


def best_s(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of `repeats`, after one that warms up: what is slower was held up by others."""
    work()
    times_s = []
    for _ in range(repeats):
        started_s = time.perf_counter()
        work()
        times_s.append(time.perf_counter() - started_s)
    return min(times_s)


def flops(work: Callable[[], object]) -> int:
    """Of the matrix products, convolutions and attentions of torch that `work` calls."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # Torch counts no fused attention of the CPU, but the products that it is made of.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def weight_bytes(module: torch.nn.Module) -> int:
    """Of all parameters: what one pass reads at least."""
    return sum(weight.numel() * weight.element_size() for weight in module.parameters())
