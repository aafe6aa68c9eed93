"""Builds the prompt of a conversation with media, and makes it fit into the model's context.

The media text that is oldest is shortened first, from its end: people ask about what they sent last, and the
first line that `describe` writes sums a medium up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from multimodal.errors import ConfigError, ContextLengthExceeded
from multimodal.types import (
    GenerateRequest,
    MediaKind,
    MediaPart,
    PromptMessage,
    Role,
    Shortened,
    TextPart,
)

TITLES: Mapping[MediaKind, str] = {
    MediaKind.IMAGE: "Picture",
    MediaKind.AUDIO: "Recording",
    MediaKind.VIDEO: "Video",
    MediaKind.DOCUMENT: "Document",
}


class Tokenizer(Protocol):
    """What the builder needs of a tokenizer (transformers' satisfy it through `HfTokenizer`)."""

    special_tokens: Sequence[str]
    """Strings that the tokenizer turns into one control token."""
    longest_token_characters: int
    """No token stands for more characters."""

    def encode(self, text: str) -> list[int]:
        """Token ids; control tokens in the text are recognised, none are added."""
        ...

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The chat template, ready for the answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt that fits."""

    token_ids: list[int]
    visuals: tuple[int, ...]
    """Indices of the visuals, in the order of their placeholders."""
    shortened: tuple[Shortened, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualSize:
    """How much of the context one visual takes."""

    items: int
    """Placeholders: one for a picture, one for each frame of a video; one for each row of an embedding."""
    tokens: int
    """Tokens that all its placeholders together grow to."""
    kind: MediaKind = MediaKind.IMAGE
    """What the model is told that it is, which decides on the placeholder: frames may be pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptStyle:
    """Wording and markers that depend on the model."""

    placeholders: Mapping[MediaKind, str]
    """What stands for one item of each kind that the model is shown."""
    system_prompt: str | None
    """None: what the chat template brings."""
    media_prompt: str
    """A message with media: `{media}` and `{question}` are replaced."""
    media_question: str
    """The words of a message that has only media."""


class PromptBuilder:
    """Renders conversations for one model."""

    def __init__(self, tokenizer: Tokenizer, style: PromptStyle) -> None:
        self._tokenizer = tokenizer
        self._style = style

    def build(self, request: GenerateRequest, visuals: Sequence[VisualSize], budget_tokens: int) -> Prompt:
        """The prompt of a request, in at most `budget_tokens` tokens, those of its visuals included.

        Raises ContextLengthExceeded when it does not fit with every media text dropped.
        """
        messages = self._with_system(request.messages)
        self._refuse_endless(messages, budget_tokens)
        lines = {part.param: list(part.lines) for part in _media(messages)}
        order = tuple(part.visual for part in _media(messages) if part.visual is not None)
        growth = sum(visuals[index].tokens - visuals[index].items for index in order)
        budget_tokens -= growth
        markers = [self._marker(visual) for visual in visuals]
        ids = self._tokens(messages, lines, markers)
        for part in _media(messages):
            # A few times at most: lines are measured one by one, and tokens join over their ends.
            while lines[part.param] and (excess := len(ids) - budget_tokens) > 0:
                self._shorten(lines[part.param], excess)
                ids = self._tokens(messages, lines, markers)
        if len(ids) > budget_tokens:
            raise ContextLengthExceeded(
                f"The conversation needs {len(ids) + growth} tokens, but {budget_tokens + growth} fit before "
                "the answer. Send fewer or shorter messages, or lower max_tokens.",
                param="messages",
            )
        return Prompt(token_ids=ids, visuals=order, shortened=self._report(messages, lines))

    def _with_system(self, messages: Sequence[PromptMessage]) -> list[PromptMessage]:
        words = self._style.system_prompt
        if words is None or messages[0].role is Role.SYSTEM:
            return list(messages)
        return [PromptMessage(role=Role.SYSTEM, parts=(TextPart(text=words),)), *messages]

    def _marker(self, visual: VisualSize) -> str:
        """All its placeholders. Raises ConfigError for a kind that this model has none for."""
        if visual.kind not in self._style.placeholders:
            raise ConfigError(f"The model is shown {visual.kind}s: set generator.{visual.kind}_placeholder.")
        return self._style.placeholders[visual.kind] * visual.items

    def _tokens(
        self, messages: Sequence[PromptMessage], lines: Mapping[str, Sequence[str]], markers: Sequence[str]
    ) -> list[int]:
        counts = dict.fromkeys(MediaKind, 0)
        rendered = [
            {"role": message.role.value, "content": self._content(message, lines, markers, counts)}
            for message in messages
        ]
        return self._tokenizer.encode(self._tokenizer.render(rendered))

    def _content(
        self,
        message: PromptMessage,
        lines: Mapping[str, Sequence[str]],
        markers: Sequence[str],
        counts: dict[MediaKind, int],
    ) -> str:
        """Media first, words last: a small model answers what it read last."""
        blocks: list[str] = []
        words: list[str] = []
        for part in message.parts:
            if isinstance(part, TextPart):
                words.append(self._harmless(part.text))
                continue
            if part.title is not None and part.visual is None and not lines[part.param]:
                continue  # a source of which nothing is left
            title = self._title(part, counts)
            marker = "" if part.visual is None else markers[part.visual]
            block = [f"{title}:", *map(self._harmless, lines[part.param])]
            if marker:
                block.insert(1 + part.visual_after, marker)
            blocks.append("\n".join(block))
        question = "\n\n".join(words)
        if not blocks:
            return question
        media = "\n\n".join(blocks)
        question = question or self._style.media_question
        before, _, rest = self._style.media_prompt.partition("{media}")
        between, _, after = rest.partition("{question}")
        return before + media + between + question + after

    def _title(self, part: MediaPart, counts: dict[MediaKind, int]) -> str:
        """What a medium is called; those without a name of their own are counted."""
        if part.title is not None:
            return self._harmless(part.title)
        counts[part.kind] += 1
        return f"{TITLES[part.kind]} {counts[part.kind]}"

    def _harmless(self, text: str) -> str:
        """Keeps what clients (and their pictures) say from being read as a control token."""
        for token in self._tokenizer.special_tokens:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def _refuse_endless(self, messages: Sequence[PromptMessage], budget_tokens: int) -> None:
        """Words that cannot fit whatever their tokens are: known without reading them all."""
        texts = (part.text for message in messages for part in message.parts if isinstance(part, TextPart))
        limit = budget_tokens * self._tokenizer.longest_token_characters
        if (characters := sum(map(len, texts))) > limit:
            raise ContextLengthExceeded(
                f"The conversation has {characters} characters of text, which cannot fit into the "
                f"{budget_tokens} tokens before the answer. Send fewer or shorter messages.",
                param="messages",
            )

    def _shorten(self, lines: list[str], excess_tokens: int) -> None:
        """Take about `excess_tokens` from the end, and something at least: lines, then words of a line."""
        while lines and excess_tokens > 0:
            tokens = len(self._tokenizer.encode(lines[-1])) + 1
            words = lines[-1].removesuffix(ELLIPSIS).split(" ")
            keep = int(len(words) * (tokens - excess_tokens - ELLIPSIS_TOKENS) / tokens)
            if keep >= MIN_WORDS:
                lines[-1] = " ".join(words[: min(keep, len(words) - 1)]) + ELLIPSIS
                return
            lines.pop()
            excess_tokens -= tokens

    def _report(
        self, messages: Sequence[PromptMessage], lines: Mapping[str, Sequence[str]]
    ) -> tuple[Shortened, ...]:
        report: list[Shortened] = []
        for part in _media(messages):
            if tuple(lines[part.param]) == part.lines:
                continue
            kept = len(self._tokenizer.encode("\n".join(lines[part.param])))
            whole = len(self._tokenizer.encode("\n".join(part.lines)))
            report.append(Shortened(param=part.param, kept_tokens=kept, dropped_tokens=whole - kept))
        return tuple(report)


MIN_WORDS = 4
"""A shorter rest of a line says nothing."""

ELLIPSIS = " ..."
ELLIPSIS_TOKENS = 4
"""What it takes at most, and some room for tokens that were joined to the words cut off."""


def _media(messages: Sequence[PromptMessage]) -> list[MediaPart]:
    """Media parts, oldest first."""
    return [part for message in messages for part in message.parts if isinstance(part, MediaPart)]
