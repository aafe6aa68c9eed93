"""What is tried: one setting that differs from the profile's."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from multimodal.config import GeneratorArgs

MIB = 2**20
INTEL_OPENMP = Path(sys.prefix, "lib", "libiomp5.so")
"""Comes with vLLM's CPU build, which does not load it by itself: it takes PyTorch's OpenMP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An engine that differs from the baseline."""

    name: str
    args: Mapping[str, object] = field(default_factory=dict)
    """Fields of GeneratorArgs."""
    chunked_prefill: bool = True
    env: Mapping[str, str] = field(default_factory=dict)

    def applied(self, baseline: GeneratorArgs) -> GeneratorArgs:
        """The profile's settings with these changes. Raises pydantic's ValidationError."""
        return GeneratorArgs.model_validate(baseline.model_dump() | dict(self.args))

    @property
    def slug(self) -> str:
        """Its name as that of a file."""
        return "-".join("".join(sign if sign.isalnum() else " " for sign in self.name).split())


CONTROL = Candidate(name="the same again")
"""The baseline's settings: what differs here is noise."""


def candidates(baseline: GeneratorArgs) -> list[Candidate]:
    """All that differ from the baseline, and CONTROL first."""
    listed = [*_binding(), *_blocks(), *_batches(baseline), *_memory(), *_other()]
    return [CONTROL, *(one for one in listed if _differs(one, baseline))]


def chosen(every: Sequence[Candidate], names: Sequence[str]) -> list[Candidate]:
    """Those of these names, all without any. Raises ValueError for a name that is not there."""
    by_name = {one.name: one for one in every}
    if unknown := [name for name in names if name not in by_name]:
        raise ValueError(f"There is no {unknown[0]!r} among {', '.join(by_name)}.")
    return [by_name[name] for name in names] if names else list(every)


def _differs(candidate: Candidate, baseline: GeneratorArgs) -> bool:
    return not candidate.chunked_prefill or bool(candidate.env) or candidate.applied(baseline) != baseline


def _binding() -> list[Candidate]:
    """vLLM's own ways to place the model's process. auto: it leaves a core to its other ones where it can.
    nobind: threads may move."""
    listed = [Candidate(name="worker process", args={"worker_process": True})]
    listed += [
        Candidate(
            name=f"worker process, {bind}",
            args={"worker_process": True, "cores": None},
            env={"VLLM_CPU_OMP_THREADS_BIND": bind},
        )
        for bind in ("auto", "nobind")
    ]
    return [
        *listed,
        Candidate(name="a thread for each core", env={"GOMP_CPU_AFFINITY": "0 1"}),
        Candidate(name="one core", args={"cores": "0"}),
    ]


def _blocks() -> list[Candidate]:
    return [
        Candidate(name=f"blocks of {tokens} tokens", args={"block_tokens": tokens})
        for tokens in (32, 64, 128)  # vLLM takes no smaller ones on a CPU
    ]


def _batches(baseline: GeneratorArgs) -> list[Candidate]:
    whole = {"max_num_batched_tokens": baseline.max_model_len}
    return [
        *(Candidate(name=f"{count} requests a step", args={"max_num_seqs": count}) for count in (8, 16, 256)),
        *(
            Candidate(name=f"{tokens} tokens a step", args={"max_num_batched_tokens": tokens})
            for tokens in (256, 512, 1024, 2048, 4096)
        ),
        # Without chunks a prompt has to fit into one step: this one and the next differ in that alone.
        Candidate(name="whole context a step", args=whole),
        Candidate(name="no chunked prefill", args=whole, chunked_prefill=False),
    ]


def _memory() -> list[Candidate]:
    return [
        Candidate(name=f"KV space {mib} MiB", args={"kv_cache_bytes": mib * MIB})
        for mib in (512, 1024, 2048, 4096)
    ]


def _other() -> list[Candidate]:
    found = [
        Candidate(name="compiled", args={"enforce_eager": False}),
        Candidate(name="not compiled", args={"enforce_eager": True}),
    ]
    if INTEL_OPENMP.exists():
        found.append(Candidate(name="Intel's OpenMP", env={"LD_PRELOAD": str(INTEL_OPENMP)}))
    return found
