"""The vLLM engine behind Generator: continuous batching, paged KV cache, prefix cache, structured output."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, cast

from multimodal.config import GeneratorArgs
from multimodal.errors import (
    DeadlineExceeded,
    InvalidRequest,
    MultimodalError,
    StageUnavailable,
)
from multimodal.generation.booting import placeholders, start
from multimodal.generation.precedence import priority
from multimodal.generation.prompt import Prompt, PromptBuilder, PromptStyle, VisualSize
from multimodal.generation.sampling import first_line, prompt_budget_tokens, sampling_params
from multimodal.generation.visuals import inputs, size
from multimodal.types import (
    Delta,
    GenerateRequest,
    GenerationStep,
    RequestContext,
    Sampling,
    Usage,
    Visual,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from vllm import RequestOutput
    from vllm.inputs import TokensPrompt


class HfTokenizer:
    """transformers' tokenizer as the prompt builder needs it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.longest_token_characters = max(map(len, tokenizer.get_vocab()))
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
        self._videos_whole = args.video_placeholder is not None
        self._engine = start(model, args)
        # A copy, because it is used on a thread of its own, beside the engine's.
        tokenizer = copy.deepcopy(cast("PreTrainedTokenizerBase", self._engine.get_tokenizer()))
        self._builder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prompt")
        style = PromptStyle(
            placeholders=placeholders(args),
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
        sizes = [size(visual, videos_whole=self._videos_whole) for visual in visuals]
        prompt = await self._build(request, sizes, prompt_budget_tokens(request.sampling, self._args))
        used = len(prompt.token_ids) + sum(one.tokens - one.items for one in sizes)
        sampling = sampling_params(request.sampling, self._args, self._args.max_model_len - used)
        first: GenerationStep | None = GenerationStep(shortened=prompt.shortened)
        counted = _UsageCounter()
        # Clients may choose request ids, and two at a time may choose the same.
        engine_id = f"{ctx.request_id}-{uuid.uuid4().hex}"
        outputs = self._engine.generate(
            self._engine_prompt(ctx, prompt, visuals),
            sampling,
            engine_id,
            priority=priority(ctx.priority, media=bool(prompt.visuals)),
        )
        async with aclosing(outputs) as stream:
            while (output := await self._next(ctx, stream, request.sampling)) is not None:
                if first is not None:
                    yield first
                    first = None
                yield counted.step(output)

    async def _build(
        self, request: GenerateRequest, sizes: Sequence[VisualSize], budget_tokens: int
    ) -> Prompt:
        """Beside the event loop, which streams every other answer meanwhile."""
        from jinja2 import TemplateError

        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._builder, self._prompts.build, request, sizes, budget_tokens
            )
        except TemplateError as error:
            raise InvalidRequest(
                f"The model's chat template does not take this conversation: {first_line(error)}",
                param="messages",
            ) from error

    def _engine_prompt(self, ctx: RequestContext, prompt: Prompt, visuals: Sequence[Visual]) -> TokensPrompt:
        """vLLM's prompt; the tenant salts the prefix cache, so that timing tells nothing across tenants."""
        from vllm.inputs import TokensPrompt

        engine_prompt = TokensPrompt(prompt_token_ids=prompt.token_ids, cache_salt=ctx.tenant)
        if prompt.visuals:
            shown = inputs([visuals[index] for index in prompt.visuals], videos_whole=self._videos_whole)
            engine_prompt["multi_modal_data"] = shown.data
            if shown.uuids:
                engine_prompt["multi_modal_uuids"] = shown.uuids
        return engine_prompt

    async def _next(
        self, ctx: RequestContext, stream: AsyncGenerator[RequestOutput, None], sampling: Sampling
    ) -> RequestOutput | None:
        """The next output before the deadline; vLLM's errors become ours here."""
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        try:
            async with asyncio.timeout(ctx.remaining_s()):
                return await anext(stream, None)
        except TimeoutError:
            raise DeadlineExceeded(
                "The answer was not finished in time. Ask for fewer tokens (max_tokens) or send less media."
            ) from None
        except EngineDeadError:
            raise StageUnavailable.restarting("Generator") from None
        except EngineGenerateError as error:
            raise _failed() from error
        except VLLMClientError as error:
            raise _refused(error, sampling) from error

    async def check_health(self) -> None:
        """Raises StageUnavailable once the engine process is gone."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError:
            raise StageUnavailable.restarting("Generator") from None

    def close(self) -> None:
        """End the engine process."""
        self._builder.shutdown(wait=False, cancel_futures=True)
        self._engine.shutdown()


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
        raise _failed()
    return "stop"


def _refused(error: Exception, sampling: Sampling) -> InvalidRequest:
    """Our error for what the engine says about parameters; grammars are made of schemas only there."""
    param = None if sampling.json_schema is None else "response_format.json_schema.schema"
    return InvalidRequest(f"The model cannot serve these parameters: {first_line(error)}", param=param)


def _failed() -> MultimodalError:
    return StageUnavailable("The generator failed on this request. Try again.", retry_after_s=1)
