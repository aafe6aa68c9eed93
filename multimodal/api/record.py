"""What a request goes through: collected once, for the answer, the metrics and the log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from multimodal.api.exchange import Exchange, Timer
from multimodal.api.metrics import Metrics
from multimodal.api.responses import MediaNote, StageTime
from multimodal.types import (
    AnalysisEvent,
    ChatEvent,
    FileReference,
    GenerationStep,
    MediaSkipped,
    MediaSource,
    Shortened,
    Sources,
    StageEvent,
)

_VERBS = {"load": "loading", "encode": "encoding", "retrieve": "retrieving", "generate": "generating"}


class Record:
    """Watches the events of one request."""

    def __init__(
        self, exchange: Exchange, skipped: Sequence[MediaSkipped] = (), *, metrics: Metrics, timer: Timer
    ) -> None:
        self.notes = [_skipped_note(item) for item in skipped]
        self.sources: Sources | None = None
        """What the answer stands on, once that is known."""
        self._exchange = exchange
        self._metrics = metrics
        self._timer = timer
        self._last_tokens_s: float | None = None

    def see(self, event: ChatEvent | AnalysisEvent) -> None:
        """Take note of an event. Called once for each, in order."""
        if isinstance(event, GenerationStep):
            self._see_step(event)
        elif isinstance(event, StageEvent):
            if event.seconds is not None:
                self._exchange.stages.append(event)
                self._metrics.stage_s.labels(event.stage).observe(event.seconds)
        elif isinstance(event, Sources):
            self.sources = event
        elif isinstance(event, MediaSkipped):
            self.notes.append(_skipped_note(event))

    def _see_step(self, step: GenerationStep) -> None:
        if step.deltas:
            self._see_tokens(max(delta.tokens for delta in step.deltas))
        if step.shortened:
            self.notes.extend(map(_shortened_note, step.shortened))
        if step.usage is not None:
            self._exchange.usage = step.usage

    def _see_tokens(self, tokens: int) -> None:
        now_s = self._timer()
        if self._last_tokens_s is None:
            self._metrics.ttft_s.observe(now_s - self._exchange.started_s)
        elif tokens > 0:
            self._metrics.inter_token_s.observe((now_s - self._last_tokens_s) / tokens)
        self._last_tokens_s = now_s

    def stages(self) -> list[StageTime]:
        """Stages that were left so far, in that order."""
        return [_stage_time(event) for event in self._exchange.stages]


class StageLabels:
    """Says what runs in words that can be shown: "encoding image 2/3"."""

    def __init__(self, media: Iterable[MediaSource | FileReference]) -> None:
        sources = [(_kind(source), source.param) for source in media]
        totals = Counter(kind for kind, _ in sources)
        seen: Counter[str] = Counter()
        self._places: dict[str, str] = {}
        for kind, param in sources:
            seen[kind] += 1
            self._places[param] = f"{kind} {seen[kind]}/{totals[kind]}"

    def label(self, event: StageEvent) -> str:
        """Words for an event."""
        verb = _VERBS.get(event.stage, event.stage)
        place = self._places.get(event.param or "")
        return f"{verb} {place}" if place else verb


def _kind(source: MediaSource | FileReference) -> str:
    """What kind an uploaded file is of, only the library knows."""
    return source.kind if isinstance(source, MediaSource) else "file"


def _stage_time(event: StageEvent) -> StageTime:
    time = StageTime(stage=event.stage, param=event.param, seconds=round(event.seconds or 0.0, 6))
    # Fields that were not set are not sent.
    return time.model_copy(update={"cached": True}) if event.cached else time


def _skipped_note(item: MediaSkipped) -> MediaNote:
    return MediaNote(param=item.param, note="skipped", message=item.message, code=item.code)


def _shortened_note(item: Shortened) -> MediaNote:
    total = item.kept_tokens + item.dropped_tokens
    return MediaNote(
        param=item.param,
        note="shortened",
        message=f"What was seen and heard here did not fit: {item.kept_tokens} of {total} tokens were kept.",
        kept_tokens=item.kept_tokens,
        dropped_tokens=item.dropped_tokens,
    )
