"""A chat answer as a stream of server-sent events.

The status line goes out with the first GenerationStep, so that media that cannot be read, a full queue or a
prompt that is too long get their own status; with `include_stages` it goes out with the first stage.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

from multimodal.api.event_stream import EventStream
from multimodal.api.exchange import Exchange
from multimodal.api.record import Record, StageLabels
from multimodal.api.sse import DONE, ChunkWriter
from multimodal.types import ChatEvent, GenerationStep, Sources, StageEvent


class ChatStream(EventStream[ChatEvent]):
    """OpenAI's chunks."""

    def __init__(
        self,
        events: AsyncGenerator[ChatEvent, None],
        writer: ChunkWriter,
        record: Record,
        exchange: Exchange,
        *,
        labels: StageLabels | None,
        include_usage: bool,
    ) -> None:
        super().__init__(events, exchange)
        self._writer = writer
        self._record = record
        self._labels = labels
        self._include_usage = include_usage

    def _format(self, event: ChatEvent) -> bytes:
        self._record.see(event)
        if isinstance(event, GenerationStep):
            return self._writer.deltas(event.deltas, self._record.notes) if event.deltas else b""
        if isinstance(event, Sources):
            return self._writer.citations(event)
        if isinstance(event, StageEvent) and self._labels is not None:
            return self._writer.stage(event, self._labels.label(event))
        return b""

    def _ending(self) -> Iterator[bytes]:
        if self._record.sources is not None:
            yield self._writer.citations(self._record.sources)
        if self._labels is not None:
            yield self._writer.stages(self._record.stages())
        if self._include_usage and self._exchange.usage is not None:
            yield self._writer.usage(self._exchange.usage)
        yield DONE
