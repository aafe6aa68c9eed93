"""Starts vLLM's engine as the configuration says, with or without the model's own towers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.config import GeneratorArgs, home
from multimodal.errors import ConfigError
from multimodal.generation import compiling
from multimodal.generation.cores import CORES, engine_cores
from multimodal.generation.precedence import MEDIA_TOKENS
from multimodal.generation.sampling import first_line
from multimodal.types import MediaKind

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

WORKER_EXTENSION = "multimodal.generation.worker.WorkerExtension"


def start(model: Path, args: GeneratorArgs) -> AsyncLLM:
    """Tens of seconds. Raises ConfigError when the model cannot be loaded."""
    if args.cores is not None:
        # Read by vLLM's CPU worker; it has no engine argument for it.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = args.cores
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    if args.tensor_parallel_size == 1:
        # All of it runs on this machine, and nothing else need reach it.
        os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    on_cpu = current_platform.is_cpu()
    try:
        cores = engine_cores(args.cores)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    engine_args = AsyncEngineArgs(
        model=str(model),
        served_model_name=[args.served_name],
        dtype=args.dtype,
        max_model_len=args.max_model_len,
        max_num_seqs=args.max_num_seqs,
        block_size=args.block_tokens,
        max_num_batched_tokens=args.max_num_batched_tokens,
        tensor_parallel_size=args.tensor_parallel_size,
        enforce_eager=args.enforce_eager or (on_cpu and not compiling.prepare(home())),
        enable_prefix_caching=True,
        scheduling_policy="priority",
        scheduler_cls=_scheduler(args) if on_cpu else None,
        distributed_executor_backend=_executor(args) if on_cpu else None,
        additional_config={MEDIA_TOKENS: args.media_prefill_tokens, CORES: cores},
        enable_mm_embeds=True,
        limit_mm_per_prompt=limits(args),
        worker_extension_cls=WORKER_EXTENSION,
        # The shared-memory cache unpickles what it reads.
        mm_processor_cache_type="lru",
        generation_config="vllm",
        structured_outputs_config=StructuredOutputsConfig(backend="xgrammar", disable_any_whitespace=True),
        enable_log_requests=False,
        trust_remote_code=False,
        kv_cache_memory_bytes=args.kv_cache_bytes if args.gpu_memory_utilization is None else None,
        gpu_memory_utilization=args.gpu_memory_utilization or 0.9,
    )
    try:
        return AsyncLLM.from_engine_args(engine_args)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"The generator's model could not be started: {first_line(error)}") from error


def _scheduler(args: GeneratorArgs) -> str | None:
    if args.media_prefill_tokens is None:
        return None
    return "multimodal.generation.scheduling.TextFirst"


def _executor(args: GeneratorArgs) -> str | None:
    if args.worker_process or args.tensor_parallel_size > 1:
        return None
    return "multimodal.generation.one_process.OneProcess"


def placeholders(args: GeneratorArgs) -> dict[MediaKind, str]:
    """What stands for one item in the prompt, by what the model is shown."""
    written = {
        MediaKind.IMAGE: args.image_placeholder,
        MediaKind.VIDEO: args.video_placeholder,
        MediaKind.AUDIO: args.audio_placeholder,
    }
    return {kind: placeholder for kind, placeholder in written.items() if placeholder is not None}


def limits(args: GeneratorArgs) -> dict[str, int | dict[str, int]]:
    """Media in one prompt that the engine encodes itself, by vLLM's modalities. Of none: it does not load the
    tower for them, and embeddings are not counted, since they are bounded by the context."""
    written = placeholders(args) if args.pixels else ()
    return {
        kind.value: args.max_images if kind in written else 0
        for kind in (MediaKind.IMAGE, MediaKind.VIDEO, MediaKind.AUDIO)
    }
