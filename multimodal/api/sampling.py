"""OpenAI's sampling parameters, and vLLM's beside them, as a `Sampling`."""

from __future__ import annotations

import json
from dataclasses import replace

from multimodal.api.errors import UnsupportedParameter
from multimodal.api.schemas import (
    AnswerOptions,
    ChatCompletionRequest,
    JsonObjectFormat,
    JsonSchemaFormat,
    ResponseFormat,
)
from multimodal.config import AppArgs
from multimodal.errors import InvalidRequest
from multimodal.types import Sampling

SCHEMA_CHARS = 100_000
"""Longest JSON Schema of a response_format. Compiling one costs time and memory that grow with it; OpenAI's
limit on names and values is of this size (120,000)."""


def refuse_unsupported(body: ChatCompletionRequest) -> None:
    """Refuse what cannot be honoured and would give a wrong answer if it were ignored."""
    refused = {
        "tools": body.tools and body.tool_choice != "none",
        "functions": body.functions and body.function_call != "none",
        "logprobs": body.logprobs,
        "logit_bias": body.logit_bias,
        "web_search_options": body.web_search_options is not None,
    }
    for param, present in refused.items():
        if present:
            raise UnsupportedParameter(f"{param} is not supported. Leave it out.", param=param)
    if body.modalities is not None and body.modalities != ["text"]:
        raise UnsupportedParameter('Answers are text: send ["text"].', param="modalities")


def to_sampling(body: AnswerOptions, args: AppArgs) -> Sampling:
    """Raises InvalidRequest for values beyond what this deployment is configured for."""
    return Sampling(
        max_tokens=_max_tokens(body, args.generator.max_model_len),
        min_tokens=body.min_tokens or 0,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        min_p=body.min_p,
        presence_penalty=body.presence_penalty or 0.0,
        frequency_penalty=body.frequency_penalty or 0.0,
        repetition_penalty=body.repetition_penalty,
        seed=body.seed,
        stop=_stop(body.stop),
        ignore_eos=bool(body.ignore_eos),
    )


def chat_sampling(body: ChatCompletionRequest, args: AppArgs) -> Sampling:
    """The same with what only chat has. Raises InvalidRequest."""
    sampling = to_sampling(body, args)
    if (body.n or 1) > args.limits.choices:
        raise InvalidRequest(f"n must be at most {args.limits.choices}.", param="n")
    return replace(
        sampling,
        n=body.n or 1,
        json_schema=_json_schema(body.response_format),
        json_object=isinstance(body.response_format, JsonObjectFormat),
    )


def _max_tokens(body: AnswerOptions, context_tokens: int) -> int | None:
    name = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    max_tokens = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if max_tokens is not None and max_tokens >= context_tokens:
        raise InvalidRequest(
            f"{name} must be below {context_tokens}: the model's context holds prompt and answer.",
            param=name,
        )
    if (body.min_tokens or 0) > (context_tokens - 1 if max_tokens is None else max_tokens):
        raise InvalidRequest("min_tokens must not be above max_tokens.", param="min_tokens")
    return max_tokens


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _json_schema(response_format: ResponseFormat | None) -> str | None:
    if not isinstance(response_format, JsonSchemaFormat):
        return None
    param = "response_format.json_schema.schema"
    try:
        text = json.dumps(response_format.json_schema.schema_, allow_nan=False)
    except ValueError:
        raise InvalidRequest("The schema has a number that is too large.", param=param) from None
    if len(text) > SCHEMA_CHARS:
        raise InvalidRequest(f"The schema must have at most {SCHEMA_CHARS} characters as JSON.", param=param)
    return text
