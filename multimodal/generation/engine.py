"""The vLLM engine behind Generator: continuous batching, paged KV cache, prefix cache, structured output."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from multimodal.config import GeneratorArgs
from multimodal.errors import (
    ConfigError,
    DeadlineExceeded,
    InvalidRequest,
    MultimodalError,
    StageUnavailable,
)
from multimodal.generation.prompt import Prompt, PromptBuilder, PromptStyle, VisualSize
from multimodal.types import (
    Delta,
    GenerateRequest,
    GenerationStep,
    GeneratorEmbedding,
    Image,
    RequestContext,
    Sampling,
    Usage,
    Visual,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import RequestOutput, SamplingParams
    from vllm.inputs import TokensPrompt
    from vllm.v1.engine.async_llm import AsyncLLM

RESTART_S = 30
"""What a client is told to wait while the engine restarts: a boot on two cores takes about that long."""

PIXELS_PER_TOKEN = 28 * 28
"""Qwen2.5-VL: 14-pixel patches, merged two by two. Only an estimate of what a picture will take."""


VARIED = 0.7
"""Temperature of several answers to one request that names none: greedy ones would all be the same."""


class HfTokenizer:
    """transformers' tokenizer as the prompt builder needs it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        special = {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}
        self.special_tokens: Sequence[str] = tuple(sorted(special, key=len, reverse=True))

    def encode(self, text: str) -> list[int]:
        """Token ids; the chat template has already written every control token."""
        return cast(list[int], self._tokenizer.encode(text, add_special_tokens=False))

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The model's own chat template."""
        conversation = [dict(message) for message in messages]
        return cast(
            str,
            self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True),
        )


class VllmEngine:
    """One AsyncLLM and its prompt builder. Implements `GeneratorBackend`."""

    def __init__(self, model: Path, args: GeneratorArgs) -> None:
        """Boots the engine: tens of seconds. Raises ConfigError when the model cannot be loaded."""
        self._args = args
        self._engine = _start(model, args)
        tokenizer = cast("PreTrainedTokenizerBase", self._engine.get_tokenizer())
        style = PromptStyle(
            image_placeholder=args.image_placeholder,
            system_prompt=args.system_prompt,
            media_prompt=args.media_prompt,
            media_question=args.media_question,
        )
        self._prompts = PromptBuilder(HfTokenizer(tokenizer), style)

    async def generate(
        self, ctx: RequestContext, request: GenerateRequest, visuals: Sequence[Visual]
    ) -> AsyncGenerator[GenerationStep, None]:
        """Stream the answer; leaving early, or the deadline, aborts it in the engine and frees its KV blocks.

        Raises InvalidRequest, ContextLengthExceeded, DeadlineExceeded or StageUnavailable.
        """
        sizes = [_size(visual) for visual in visuals]
        prompt = self._prompts.build(request, sizes, self._budget_tokens(request.sampling))
        used = len(prompt.token_ids) + sum(size.tokens - size.items for size in sizes)
        sampling = self._sampling(request.sampling, self._args.max_model_len - used)
        first: GenerationStep | None = GenerationStep(shortened=prompt.shortened)
        counted = _UsageCounter()
        # Clients may choose request ids, and two at a time may choose the same.
        engine_id = f"{ctx.request_id}-{uuid.uuid4().hex}"
        outputs = self._engine.generate(
            _engine_prompt(ctx, prompt, visuals), sampling, engine_id, priority=ctx.priority
        )
        async with aclosing(outputs) as stream:
            while (output := await self._next(ctx, stream)) is not None:
                if first is not None:
                    yield first
                    first = None
                yield counted.step(output)

    async def _next(
        self, ctx: RequestContext, stream: AsyncGenerator[RequestOutput, None]
    ) -> RequestOutput | None:
        """The next output before the deadline; vLLM's errors become ours here."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            async with asyncio.timeout(ctx.remaining_s()):
                return await anext(stream, None)
        except TimeoutError:
            raise DeadlineExceeded(
                "The answer was not finished in time. Ask for fewer tokens (max_tokens) or send less media."
            ) from None
        except EngineDeadError:
            raise _unavailable() from None
        except (VLLMClientError, ValueError) as error:
            raise InvalidRequest(f"The model cannot serve these parameters: {_first_line(error)}") from error

    def _budget_tokens(self, sampling: Sampling) -> int:
        limit = self._args.max_model_len
        wanted = sampling.max_tokens
        if wanted is not None and wanted >= limit:
            raise InvalidRequest(
                f"max_tokens is {wanted}, but the model's context holds {limit} tokens, prompt and answer "
                f"together. Ask for at most {limit - 1}.",
                param="max_tokens",
            )
        return limit - (wanted or min(self._args.default_max_tokens, limit // 4))

    def _sampling(self, sampling: Sampling, room_tokens: int) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.exceptions import VLLMClientError
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        args = self._args
        structured = None
        if sampling.json_schema is not None:
            structured = StructuredOutputsParams(json=sampling.json_schema)
        elif sampling.json_object:
            structured = StructuredOutputsParams(json_object=True)
        default = args.default_temperature if sampling.n == 1 else max(args.default_temperature, VARIED)
        temperature = default if sampling.temperature is None else sampling.temperature
        try:
            return SamplingParams(
                n=sampling.n,
                max_tokens=sampling.max_tokens or min(args.default_max_tokens, room_tokens),
                min_tokens=sampling.min_tokens,
                temperature=temperature,
                top_p=1.0 if sampling.top_p is None else sampling.top_p,
                top_k=0 if sampling.top_k is None else sampling.top_k,
                min_p=sampling.min_p or 0.0,
                presence_penalty=sampling.presence_penalty,
                frequency_penalty=sampling.frequency_penalty,
                repetition_penalty=sampling.repetition_penalty or args.default_repetition_penalty,
                seed=sampling.seed,
                stop=list(sampling.stop),
                ignore_eos=sampling.ignore_eos,
                structured_outputs=structured,
                output_kind=RequestOutputKind.DELTA,
            )
        except (VLLMClientError, ValueError) as error:
            raise InvalidRequest(f"These sampling values do not work: {_first_line(error)}") from error

    async def check_health(self) -> None:
        """Raises StageUnavailable once the engine process is gone."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError:
            raise _unavailable() from None

    def close(self) -> None:
        """End the engine process."""
        self._engine.shutdown()


def _start(model: Path, args: GeneratorArgs) -> AsyncLLM:
    if args.omp_threads_bind is not None:
        # Read by vLLM's CPU worker; it has no engine argument for it.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = args.omp_threads_bind
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    from vllm.config import StructuredOutputsConfig
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engine_args = AsyncEngineArgs(
        model=str(model),
        served_model_name=[args.served_name],
        dtype=args.dtype,
        max_model_len=args.max_model_len,
        max_num_seqs=args.max_num_seqs,
        max_num_batched_tokens=args.max_num_batched_tokens,
        tensor_parallel_size=args.tensor_parallel_size,
        enforce_eager=args.enforce_eager,
        enable_prefix_caching=True,
        scheduling_policy="priority",
        enable_mm_embeds=not args.pixels,
        limit_mm_per_prompt={"image": args.max_images},
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
        raise ConfigError(f"The generator's model could not be started: {_first_line(error)}") from error


def _engine_prompt(ctx: RequestContext, prompt: Prompt, visuals: Sequence[Visual]) -> TokensPrompt:
    """vLLM's prompt; the tenant salts the prefix cache, so that timing tells nothing across tenants."""
    from vllm.inputs import TokensPrompt

    engine_prompt = TokensPrompt(prompt_token_ids=prompt.token_ids, cache_salt=ctx.tenant)
    if prompt.visuals:
        items = [item for index in prompt.visuals for item in _items(visuals[index])]
        engine_prompt["multi_modal_data"] = {"image": items}
    return engine_prompt


def _items(visual: Visual) -> list[object]:
    """What vLLM takes: rows as tensors, pixels as Pillow images."""
    import torch
    from PIL import Image as Pillow

    if isinstance(visual, GeneratorEmbedding):
        # A copy: arrays from the object store are read-only, and tensors cannot be.
        return [torch.from_numpy(np.array(visual.rows, dtype=np.float32))]
    frames = [visual.pixels] if isinstance(visual, Image) else list(visual.frames)
    return [Pillow.fromarray(frame) for frame in frames]


def _size(visual: Visual) -> VisualSize:
    if isinstance(visual, GeneratorEmbedding):
        return VisualSize(items=1, tokens=len(visual.rows))
    frames = visual.pixels[None] if isinstance(visual, Image) else visual.frames
    count, height, width, _ = frames.shape
    return VisualSize(items=count, tokens=count * max(1, height * width // PIXELS_PER_TOKEN))


class _UsageCounter:
    """Turns outputs into steps, and adds up what the last one reports."""

    def __init__(self) -> None:
        self._completion_tokens = 0

    def step(self, output: RequestOutput) -> GenerationStep:
        deltas = tuple(
            Delta(
                index=choice.index,
                text=choice.text,
                tokens=len(choice.token_ids),
                finish_reason=_finish_reason(choice.finish_reason),
            )
            for choice in output.outputs
        )
        self._completion_tokens += sum(delta.tokens for delta in deltas)
        if not output.finished:
            return GenerationStep(deltas=deltas)
        usage = Usage(
            prompt_tokens=len(output.prompt_token_ids or ()),
            completion_tokens=self._completion_tokens,
            cached_tokens=output.num_cached_tokens or 0,
        )
        return GenerationStep(deltas=deltas, usage=usage)


def _finish_reason(reason: str | None) -> str | None:
    """vLLM also says "abort", "error" and "repetition"; clients of OpenAI's API know "stop" and "length"."""
    if reason in (None, "length"):
        return reason
    if reason == "error":
        raise _unavailable()
    return "stop"


def _unavailable() -> MultimodalError:
    return StageUnavailable(
        f"The generator is restarting. Try again in {RESTART_S} s.", retry_after_s=RESTART_S
    )


def _first_line(error: Exception) -> str:
    """The first sentence of somebody else's error, without what it quotes."""
    return str(error).strip().split("\n", 1)[0][:200]
