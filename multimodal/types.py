"""Frozen messages that travel between stages. A leaf module: it imports nothing local.

Arrays are C-contiguous NumPy arrays, so that Ray's object store hands them over without a copy.
Times are seconds from the start of the medium; deadlines are Unix seconds, comparable across machines.
"""

import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")

SAMPLE_RATE_HZ = 16_000
"""Sample rate of decoded audio: what Whisper's mel front end was trained on."""


class MediaKind(StrEnum):
    """What a content part holds."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"


class FrameSampling(StrEnum):
    """How the frames of a video are chosen."""

    UNIFORM = "uniform"
    KEYFRAMES = "keyframes"
    SCENE = "scene"


class Role(StrEnum):
    """Who speaks in a chat message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """Who asks, until when, and how urgently: the first argument of every stage."""

    request_id: str
    tenant: str
    deadline_s: float
    """Unix seconds after which nobody waits for the answer any more."""
    priority: int = 0
    """Smaller is served first (vLLM's convention)."""

    def remaining_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline_s - time.time())


# --- media -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredContent:
    """Where the bytes of an uploaded file lie. Made from the metadata store only, never from a request."""

    key: str
    """In the content store."""
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSource:
    """Encoded media as a client sent it, not yet looked at."""

    kind: MediaKind
    data: bytes = field(repr=False)
    """Empty where `stored` says where they are."""
    param: str
    """Where it stood in the request ("messages.0.content.1"): names the part in errors."""
    declared_type: str | None = None
    """What the client says it is (a MIME type or an OpenAI audio format); never trusted."""
    frame_sampling: FrameSampling = FrameSampling.UNIFORM
    max_frames: int | None = None
    sha256: str | None = None
    """Of `data`, hexadecimal, where it is known: it is hashed once."""
    stored: StoredContent | None = None
    """An uploaded file: MediaLoader reads it itself, and the limits of uploaded files hold for it."""
    first_page: int = 1
    """Documents: the page to begin with; at most `LoaderArgs.max_pages` are decoded."""
    filename: str | None = None
    """Documents: tells text formats apart that have no magic bytes; never trusted for more than that."""

    @property
    def size_bytes(self) -> int:
        """Encoded size."""
        return self.stored.size_bytes if self.stored else len(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReference:
    """A content part that names an uploaded file, of whatever kind that is."""

    file_id: str
    param: str
    frame_sampling: FrameSampling = FrameSampling.UNIFORM
    max_frames: int | None = None


Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom as fractions of a picture or a page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A decoded picture, upright."""

    sha256: str
    """Hex digest of the encoded bytes; frames of a video: of the video, then "#", the time."""
    pixels: NDArray[np.uint8] = field(repr=False)
    """(height, width, 3), RGB; may be smaller than the original."""
    width: int
    height: int
    """Size of the original in pixels, upright."""
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audio:
    """Decoded sound, mono."""

    sha256: str
    samples: NDArray[np.float32] = field(repr=False)
    """(n,), in [-1, 1], at SAMPLE_RATE_HZ."""
    duration_s: float
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """Sampled frames of a video and its sound track."""

    sha256: str
    frames: NDArray[np.uint8] = field(repr=False)
    """(n, height, width, 3), RGB, in time order."""
    times_s: tuple[float, ...]
    """(n,) presentation time of each frame."""
    duration_s: float
    width: int
    height: int
    """Size of the original in pixels."""
    format: str
    audio: Audio | None
    """None where the file has no sound track."""
    cuts_s: tuple[float, ...] = ()
    """When the picture changes, ascending, where the sampling looked for that (FrameSampling.SCENE)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlock:
    """A paragraph, a heading, a row of a table: text that belongs together."""

    text: str
    box: Box | None = None
    """Where it stands on the page, where the format has places."""
    heading: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a document; one slide, one sheet; the whole of a text without pages."""

    number: int
    """From 1."""
    blocks: tuple[TextBlock, ...]
    """In reading order."""
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    """(height, width, 3), RGB: the page as it looks. Large enough to be read where it has no text of its own,
    a small preview otherwise; None where the format has no look, or for pages beyond
    `LoaderArgs.max_page_images`."""
    scanned: bool = False
    """It has no text of its own, but something is to be seen on it: Reader has to read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Pages of a document."""

    sha256: str
    format: str
    title: str
    """What the file itself says; empty where it says nothing."""
    pages: tuple[Page, ...]
    page_count: int
    """Of the whole document, of which `pages` may be a part."""


Media: TypeAlias = Image | Audio | Video | Document


# --- features ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """One line of text found in a picture."""

    text: str
    confidence: float
    """In [0, 1]."""
    box: Box
    """In the picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageText:
    """The text in one picture, in reading order."""

    lines: tuple[TextLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourShare:
    """How much of a picture has one named colour."""

    name: str
    share: float
    """Fraction of the pixels, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFeatures:
    """What ImageEncoder says of one picture."""

    sha256: str
    width: int
    height: int
    colours: tuple[ColourShare, ...]
    """Dominant colours, largest share first."""
    vector: NDArray[np.float32] | None = field(repr=False)
    """(dimensions,), unit length: the retrieval vector; None where the profile has no image tower."""
    logit_scale: float | None = None
    """How sharply this model's similarities separate: exp of the checkpoint's logit_scale; None without a
    vector."""


Spans: TypeAlias = tuple[tuple[float, float], ...]
"""Start and end of stretches of speech in a recording, seconds, in order: at most 30 s of sound together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechHints:
    """What a client says about a recording, to help transcription."""

    language: str | None = None
    """ISO 639-1 code; None: the model finds out."""
    prompt: str = field(default="", repr=False)
    """Words that may occur in the recording, or what was said before: names, spellings, style."""
    temperature: float = 0.0
    """0: the likeliest words; above, words are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechWindow:
    """A stretch of a recording in which somebody speaks, at most 30 s of sound."""

    samples: NDArray[np.float32] = field(repr=False)
    """(n,), at SAMPLE_RATE_HZ: the speech with the silence cut out."""
    spans_s: Spans
    """Start and end, in the recording, of each piece that `samples` joins: maps times back."""
    hints: SpeechHints = SpeechHints()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechPlan:
    """A recording that is too long for one call: who has it transcribed shares its windows out."""

    windows: tuple[Spans, ...]
    """In time order."""
    language: str
    """What a transcript says where nobody speaks."""
    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptWord:
    """One spoken word."""

    text: str
    start_s: float
    end_s: float
    probability: float
    tokens: tuple[int, ...] = ()
    """The word in the model's vocabulary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptSegment:
    """A stretch of speech."""

    text: str
    start_s: float
    end_s: float
    words: tuple[TranscriptWord, ...] = ()
    log_probability: float = 0.0
    """Mean of its window's tokens."""
    no_speech_probability: float = 0.0
    """That nobody speaks in its window."""
    temperature: float = 0.0
    """At which its words were drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The speech in a recording. No segments: nobody speaks."""

    segments: tuple[TranscriptSegment, ...]
    language: str
    duration_s: float

    @property
    def text(self) -> str:
        """All segments as one line."""
        return " ".join(segment.text.strip() for segment in self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Successive sampled frames that look alike: encoded and read once."""

    start_s: float
    end_s: float
    times_s: tuple[float, ...]
    """Times of the sampled frames in it."""
    image: ImageFeatures
    text: ImageText


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFeatures:
    """What VideoEncoder says of one video: sight and sound on one time line."""

    sha256: str
    duration_s: float
    width: int
    height: int
    scenes: tuple[Scene, ...]
    transcript: Transcript | None
    """None where the file has no sound track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of the text of a page, short enough for one sentence vector."""

    text: str
    box: Box | None
    """Around it on the page, where its blocks have places."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageFeatures:
    """What DocumentEncoder says of one page."""

    number: int
    """From 1."""
    chunks: tuple[Chunk, ...]
    """In reading order; text that Reader found included."""
    image: ImageFeatures | None
    """How it looks; None where the page has no pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFeatures:
    """What DocumentEncoder says of a document, or of a run of its pages."""

    sha256: str
    title: str
    pages: tuple[PageFeatures, ...]
    page_count: int
    """Of the whole document."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEmbeddings:
    """Sentence vectors."""

    vectors: NDArray[np.float32] = field(repr=False)
    """(n, dimensions), each row of unit length."""
    tokens: int
    """Tokens read, special tokens included: what usage reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorEmbedding:
    """A medium as the generator reads it: rows in the place of word embeddings."""

    rows: NDArray[np.float32] = field(repr=False)
    """(tokens, width of the generator's embeddings)."""
    kind: MediaKind = MediaKind.IMAGE
    """How the generator's model is told of it."""
    whole: bool = False
    """All rows are one item of the model's prompt; else each row is an item of its own."""
    grid: tuple[int, int, int] | None = None
    """Steps in time, rows and columns of patches before they are merged, for families that want to know."""
    seconds_per_step: float | None = None
    """Of a video with a grid: how far its steps in time lie apart, seconds."""
    timestamps_s: tuple[float, ...] = ()
    """Of a video, for families that write down when each step is: one for each step in time."""
    key: str = ""
    """The digest of its `multimodal.identity.FeatureKey`: vLLM's multimodal hash; empty: by content."""


Visual: TypeAlias = GeneratorEmbedding | Image | Video
"""What a multimodal generator looks at: rows from VisionTower, or pixels where it keeps its own tower."""


# --- generation --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPart:
    """Words of the client."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPart:
    """A medium as the generator is told of it."""

    kind: MediaKind
    param: str
    """Where it stood in the request."""
    lines: tuple[str, ...]
    """What was seen and heard, a summary first: the last lines are dropped first."""
    visual: int | None = None
    """Index into the visuals that are passed beside the request."""
    visual_after: int = 0
    """How many of the lines it is shown after."""
    title: str | None = None
    """What it is called in the prompt; None: by its kind and number."""


PromptPart: TypeAlias = TextPart | MediaPart


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMessage:
    """One turn as the generator is told of it."""

    role: Role
    parts: tuple[PromptPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn. None: the model's own default."""

    max_tokens: int | None = None
    min_tokens: int = 0
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = 1
    ignore_eos: bool = False
    json_schema: str | None = None
    """A JSON Schema as JSON text; the answer is forced to match it."""
    json_object: bool = False
    """Any JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Everything the generator needs but the visuals, which travel beside it by reference."""

    messages: tuple[PromptMessage, ...]
    sampling: Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortened:
    """A media text that did not fit into the model's context."""

    param: str
    kept_tokens: int
    dropped_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """Text that one choice gained."""

    index: int
    text: str
    tokens: int
    finish_reason: str | None = None
    """"stop", "length" or None while it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Prompt tokens whose KV blocks were found in the prefix cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationStep:
    """All that one engine step produced for one caller. The first step has no deltas."""

    deltas: tuple[Delta, ...] = ()
    shortened: tuple[Shortened, ...] = ()
    """Set in the first step only."""
    usage: Usage | None = None
    """Set in the last step only."""


# --- requests ----------------------------------------------------------------------------------


class OnMediaError(StrEnum):
    """What a broken part does to the request it stands in."""

    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMessage:
    """One turn as the client sent it."""

    role: Role
    parts: tuple[TextPart | MediaSource | FileReference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A chat request, checked and typed."""

    messages: tuple[InputMessage, ...]
    sampling: Sampling
    on_media_error: OnMediaError = OnMediaError.FAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRequest:
    """One medium to be understood, and perhaps a question about it."""

    source: MediaSource
    """AUDIO or VIDEO."""
    hints: SpeechHints = SpeechHints()
    question: str | None = None
    """None: nothing is generated."""
    sampling: Sampling = Sampling()


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors of texts and media in one space."""

    vectors: NDArray[np.float32] = field(repr=False)
    """(n, dimensions), each row of unit length."""
    tokens: int
    """Tokens of the texts and the transcripts, special tokens included: what usage reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifyRequest:
    """A picture or a video, and what may be in it."""

    source: MediaSource | FileReference
    """IMAGE or VIDEO."""
    labels: tuple[str, ...]
    """Distinct, at least two."""
    template: str = "{}"
    """The sentence that a label stands in: {} is its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScore:
    """How well a label fits."""

    label: str
    score: float
    """In [0, 1]; those of all labels sum to one."""
    similarity: float
    """Cosine of the angle between the label's vector and that of the picture or the video."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """The labels, the best first."""

    results: tuple[LabelScore, ...]
    tokens: int
    """Tokens of the labels in their template, special tokens included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptPart:
    """What is known so far of a transcript: the segments that follow those of the parts before."""

    segments: tuple[TranscriptSegment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StageEvent:
    """A request entered or left a stage."""

    stage: str
    """"load", "encode" or "generate"."""
    param: str | None = None
    seconds: float | None = None
    """None when it enters, the time it took when it leaves."""
    cached: bool = False
    """When it leaves: everything was known already, nothing was encoded."""


Emit: TypeAlias = Callable[[StageEvent | TranscriptPart], None]
"""Is told what becomes of a medium while it is worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaSkipped:
    """A part that could not be used and was left out, because the client asked for that."""

    param: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    """A segment of an uploaded file that stood in the prompt."""

    number: int
    """From 1, the most relevant first: "Source 1" in the prompt."""
    file_id: str
    filename: str
    kind: MediaKind
    segment_id: str
    ordinal: int
    similarity: float | None
    """Largest cosine with the query."""
    score: float
    """What sources are ordered by."""
    snippet: str
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    box: Box | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What an answer that was to stand on uploaded files was given. None: nothing relevant was found."""

    citations: tuple[Citation, ...]


ChatEvent: TypeAlias = StageEvent | MediaSkipped | Sources | GenerationStep
"""`Sources` comes once, where retrieval was asked for, between the first step and the first words."""

AnalysisEvent: TypeAlias = StageEvent | TranscriptPart | Transcript | VideoFeatures | GenerationStep
"""Parts of a recording's transcript as they come, then what is known of the medium, once, then the answer."""


class StageState(StrEnum):
    """Whether a stage can serve."""

    READY = "ready"
    STARTING = "starting"
    UNAVAILABLE = "unavailable"


Deferred: TypeAlias = Awaitable[T]
"""A result that is on its way: may be awaited, or handed to the next stage without waiting."""


class Ready(Awaitable[T]):
    """A result that is there already. May be awaited any number of times, or never."""

    def __init__(self, value: T) -> None:
        self.value = value

    def __await__(self) -> Generator[object, None, T]:
        return self.value
        yield
