"""Our sampling values as vLLM's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from multimodal.config import GeneratorArgs
from multimodal.errors import InvalidRequest
from multimodal.types import Sampling

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.sampling_params import StructuredOutputsParams

VARIED = 0.7
"""Temperature of several answers to one request that names none: greedy ones would all be the same."""

MAX_ERROR_CHARACTERS = 200
"""Of somebody else's error message that is passed on."""

_PLACE_IN_CODE = re.compile(r"\[[\d:]+\] \S+:\d+: ")
"""How xgrammar's errors begin: a time, a source file and a line."""


def prompt_budget_tokens(sampling: Sampling, args: GeneratorArgs) -> int:
    """Tokens that the prompt may have, so that the answer fits behind it. Raises InvalidRequest."""
    limit = args.max_model_len
    wanted = sampling.max_tokens
    if wanted is not None and wanted >= limit:
        raise InvalidRequest(
            f"max_tokens is {wanted}, but the model's context holds {limit} tokens, prompt and answer "
            f"together. Ask for at most {limit - 1}.",
            param="max_tokens",
        )
    return limit - (wanted or min(args.default_max_tokens, limit // 4))


def sampling_params(sampling: Sampling, args: GeneratorArgs, room_tokens: int) -> SamplingParams:
    """vLLM's parameters for an answer of at most `room_tokens`. Raises InvalidRequest."""
    from vllm import SamplingParams
    from vllm.exceptions import VLLMClientError
    from vllm.sampling_params import RequestOutputKind

    default = args.default_temperature if sampling.n == 1 else max(args.default_temperature, VARIED)
    length = max(args.default_max_tokens, sampling.min_tokens)
    try:
        return SamplingParams(
            n=sampling.n,
            max_tokens=sampling.max_tokens or min(length, room_tokens),
            min_tokens=sampling.min_tokens,
            temperature=default if sampling.temperature is None else sampling.temperature,
            top_p=1.0 if sampling.top_p is None else sampling.top_p,
            top_k=0 if sampling.top_k is None else sampling.top_k,
            min_p=sampling.min_p or 0.0,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            repetition_penalty=sampling.repetition_penalty or args.default_repetition_penalty,
            seed=sampling.seed,
            stop=list(sampling.stop),
            ignore_eos=sampling.ignore_eos,
            structured_outputs=_structure(sampling),
            output_kind=RequestOutputKind.DELTA,
        )
    except (VLLMClientError, ValueError) as error:
        raise InvalidRequest(f"These sampling values do not work: {first_line(error)}") from error


def _structure(sampling: Sampling) -> StructuredOutputsParams | None:
    from vllm.sampling_params import StructuredOutputsParams

    if sampling.json_schema is not None:
        return StructuredOutputsParams(json=sampling.json_schema)
    return StructuredOutputsParams(json_object=True) if sampling.json_object else None


def first_line(error: Exception) -> str:
    """The first line of somebody else's error as the end of a sentence, without a place in their code."""
    line = str(error).strip().split("\n", 1)[0]
    return _PLACE_IN_CODE.sub("", line)[:MAX_ERROR_CHARACTERS].rstrip(" .") + "."
