"""A parsed chat request as the frozen messages that the service takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from multimodal.api.catalogue import CHAT, Catalogue
from multimodal.api.content import ContentPart, Message, TextContent
from multimodal.api.media_parts import check_media_count, media_source
from multimodal.api.retrieval_filters import segment_filter
from multimodal.api.sampling import chat_sampling, refuse_unsupported
from multimodal.api.schemas import ChatCompletionRequest, RetrievalOptions
from multimodal.config import AppArgs
from multimodal.errors import (
    InvalidMedia,
    InvalidRequest,
    MediaTooLarge,
    RemoteUrlRefused,
    UnsupportedMedia,
)
from multimodal.library.records import Retrieval
from multimodal.retrieval.types import SegmentFilter
from multimodal.types import (
    ChatRequest,
    FileReference,
    InputMessage,
    MediaSkipped,
    MediaSource,
    OnMediaError,
    Role,
    TextPart,
)

_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """A chat request and how its answer is wanted."""

    model: str
    request: ChatRequest
    retrieval: Retrieval | None
    skipped: tuple[MediaSkipped, ...]
    """Media that are unusable at first sight, where the request says to skip such media."""
    stream: bool
    include_usage: bool
    include_stages: bool


class ChatConverter:
    """Converts one request. Limits are checked before the first byte is decoded."""

    def __init__(self, args: AppArgs, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self._args = args
        self._clock = clock
        self._catalogue = catalogue
        self._skipped: list[MediaSkipped] = []

    def convert(self, body: ChatCompletionRequest) -> ChatCall:
        """Raises ModelNotFound, InvalidRequest, UnsupportedParameter, and what `parse_data_url` raises."""
        model = self._catalogue.find(body.model, CHAT).id
        refuse_unsupported(body)
        self._check_counts(body.messages)
        sampling = chat_sampling(body, self._args)
        on_media_error = body.on_media_error or OnMediaError.FAIL
        messages = tuple(
            self._message(message, f"messages.{index}", on_media_error)
            for index, message in enumerate(body.messages)
        )
        options = body.stream_options
        return ChatCall(
            model=model,
            request=ChatRequest(messages=messages, sampling=sampling, on_media_error=on_media_error),
            retrieval=retrieval_of(body.retrieval, self._args, self._clock),
            skipped=tuple(self._skipped),
            stream=bool(body.stream),
            include_usage=bool(options and options.include_usage),
            include_stages=bool(options and options.include_stages),
        )

    def _check_counts(self, messages: list[Message]) -> None:
        limits = self._args.limits
        if len(messages) > limits.messages:
            raise InvalidRequest(f"messages must have at most {limits.messages} items.", param="messages")
        media = sum(not isinstance(part, TextContent) for message in messages for part in _parts(message))
        check_media_count(media, self._args, "messages")

    def _message(self, message: Message, param: str, on_error: OnMediaError) -> InputMessage:
        if message.tool_calls or message.function_call is not None:
            raise InvalidRequest("Tool calls are not supported. Leave such messages out.", param=param)
        if message.content is None and message.role != "assistant":
            raise InvalidRequest(
                f"{param}.content is required: a string or a list of content parts.", param=f"{param}.content"
            )
        if isinstance(message.content, str):
            return InputMessage(role=_ROLES[message.role], parts=(TextPart(text=message.content),))
        parts = (
            self._part(part, f"{param}.content.{index}", on_error)
            for index, part in enumerate(_parts(message))
        )
        return InputMessage(
            role=_ROLES[message.role], parts=tuple(part for part in parts if part is not None)
        )

    def _part(
        self, part: ContentPart, param: str, on_error: OnMediaError
    ) -> TextPart | MediaSource | FileReference | None:
        if isinstance(part, TextContent):
            return TextPart(text=part.text)
        try:
            return media_source(part, param, self._args)
        except (InvalidMedia, UnsupportedMedia, MediaTooLarge, RemoteUrlRefused) as error:
            if on_error is OnMediaError.FAIL:
                raise
            self._skipped.append(MediaSkipped(param=param, code=error.code, message=error.message))
            return None


def _parts(message: Message) -> list[ContentPart]:
    return message.content if isinstance(message.content, list) else []


def media_of(request: ChatRequest) -> Iterator[MediaSource | FileReference]:
    """The media of a request, in order."""
    return (part for message in request.messages for part in message.parts if not isinstance(part, TextPart))


def retrieval_of(
    options: RetrievalOptions | None, args: AppArgs, clock: Callable[[], float]
) -> Retrieval | None:
    """What is asked for; None where nothing is. Raises InvalidRequest."""
    if options is None or not options.enabled:
        return None
    most = args.search.answer_max_top_k
    if options.top_k is not None and options.top_k > most:
        raise InvalidRequest(f"top_k must be at most {most}.", param="retrieval.top_k")
    where = SegmentFilter()
    if options.filters is not None:
        where = segment_filter(options.filters, clock(), "retrieval.filters")
    if options.file_ids is not None:
        wanted = tuple(dict.fromkeys(options.file_ids))
        known = wanted if where.file_ids is None else set(where.file_ids)
        where = replace(where, file_ids=tuple(one for one in wanted if one in known))
    return Retrieval(filter=where, top_k=options.top_k, min_similarity=options.score_threshold)
