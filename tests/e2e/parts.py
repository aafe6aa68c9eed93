"""Content parts of chat messages."""

from __future__ import annotations

import base64

from openai.types.chat import (
    ChatCompletionContentPartImageParam,
    ChatCompletionContentPartInputAudioParam,
    ChatCompletionContentPartParam,
    ChatCompletionContentPartTextParam,
    ChatCompletionUserMessageParam,
)

from tests import media


def words(text: str) -> ChatCompletionContentPartTextParam:
    return {"type": "text", "text": text}


def picture(data: bytes, mime: str = "image/png") -> ChatCompletionContentPartImageParam:
    return {"type": "image_url", "image_url": {"url": media.data_url(mime, data)}}


def sound(data: bytes, format: str = "wav") -> ChatCompletionContentPartInputAudioParam:
    """OpenAI's types know wav and mp3 only."""
    audio = {"data": base64.b64encode(data).decode(), "format": format}
    return {"type": "input_audio", "input_audio": audio}  # type: ignore[typeddict-item]


def clip(data: bytes, **options: object) -> ChatCompletionContentPartParam:
    """OpenAI's types know no video: this is an extension of ours (and of vLLM's)."""
    part = {"type": "video_url", "video_url": {"url": media.data_url("video/mp4", data), **options}}
    return part  # type: ignore[return-value]


def user(*parts: ChatCompletionContentPartParam) -> ChatCompletionUserMessageParam:
    return {"role": "user", "content": list(parts)}
