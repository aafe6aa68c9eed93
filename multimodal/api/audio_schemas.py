"""Bodies and answers of the endpoints for sound: OpenAI's transcriptions, and ours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from multimodal.api.analysis_schemas import (
    AnalysisAnswer,
    AnalysisHead,
    AnalysisOptions,
    FromText,
    Hint,
    LanguageName,
    with_file,
)
from multimodal.api.content import InputAudio, Schema, Text
from multimodal.api.schemas import ModelName

_EMPTY: JsonDict = {"maxItems": 0}

# --- OpenAI's transcriptions -------------------------------------------------------------------


class TranscriptionRequest(Schema):
    """POST /v1/audio/transcriptions, as multipart/form-data."""

    model_config = ConfigDict(json_schema_extra=with_file)

    model: ModelName
    language: LanguageName | None = Field(
        None, description="ISO 639-1 code or English name; default: found out"
    )
    prompt: Hint | None = Field(None, description="words that may occur, or what was said before")
    response_format: Literal["json", "text", "srt", "vtt", "verbose_json", "diarized_json"] | None = Field(
        None,
        description="default json; diarized_json is not supported",
        json_schema_extra={"enum": ["json", "text", "srt", "vtt", "verbose_json"]},
    )
    temperature: float | None = Field(None, ge=0, le=1, description="0: the likeliest words")
    timestamp_granularities: list[Literal["word", "segment"]] | None = Field(
        None,
        validation_alias=AliasChoices("timestamp_granularities[]", "timestamp_granularities"),
        description="only with verbose_json; default segment",
    )
    stream: bool | None = Field(None, description="only with json and text: events as parts are transcribed")
    chunking_strategy: Annotated[object, FromText] = Field(
        None,
        description="only auto: recordings are always cut by voice activity",
        json_schema_extra={"enum": ["auto"]},
    )
    include: list[Text] | None = Field(None, description="not supported", json_schema_extra=_EMPTY)
    languages: list[Text] | None = Field(
        None, description="not supported: send one language", json_schema_extra=_EMPTY
    )
    keywords: list[Text] | None = Field(
        None, description="not supported: put the words into prompt", json_schema_extra=_EMPTY
    )
    known_speaker_names: list[Text] | None = Field(
        None, description="not supported", json_schema_extra=_EMPTY
    )
    known_speaker_references: list[Text] | None = Field(
        None, description="not supported", json_schema_extra=_EMPTY
    )


class DurationUsage(BaseModel):
    type: Literal["duration"]
    seconds: int = Field(description="length of the recording, rounded up")


class Transcription(BaseModel):
    """With response_format json."""

    text: str
    usage: DurationUsage


class TranscriptionSegment(BaseModel):
    id: int
    seek: int = Field(description="start, in hundredths of a second")
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TranscriptionWord(BaseModel):
    word: str
    start: float
    end: float


class TranscriptionVerbose(BaseModel):
    """With response_format verbose_json. Times are in seconds."""

    task: Literal["transcribe"]
    language: str = Field(description="English name in lower case")
    duration: float
    text: str
    usage: DurationUsage
    segments: list[TranscriptionSegment] | None = Field(None, description="present with segment, the default")
    words: list[TranscriptionWord] | None = Field(None, description="present with word")


class TranscriptDeltaEvent(BaseModel):
    type: Literal["transcript.text.delta"]
    delta: str


class TranscriptDoneEvent(BaseModel):
    type: Literal["transcript.text.done"]
    text: str


# --- ours --------------------------------------------------------------------------------------


class TranscribeOptions(AnalysisOptions):
    include_timestamps: bool | None = Field(
        None, description="segments and words with their times; default true"
    )
    format: Literal["json", "text", "srt", "vtt"] | None = Field(
        None, description="default json; the others hold the transcript only: no prompt, no stream"
    )


class TranscribeUpload(TranscribeOptions):
    """POST /v1/audio/transcribe, as multipart/form-data."""

    model_config = ConfigDict(json_schema_extra=with_file)


class TranscribeRequest(TranscribeOptions):
    """POST /v1/audio/transcribe, as JSON."""

    input_audio: InputAudio


class TimedWord(BaseModel):
    text: str
    start_s: float
    end_s: float


class TimedSegment(BaseModel):
    text: str
    start_s: float
    end_s: float
    words: list[TimedWord] | None = Field(None, description="absent where the model gives no times of words")


class TranscriptText(BaseModel):
    """A transcript, or a part of one."""

    text: str
    segments: list[TimedSegment] | None = Field(None, description="absent where include_timestamps is false")


class Recording(TranscriptText):
    """What is known of a recording. No segments: nobody speaks."""

    language: str = Field(description="ISO 639-1 code; und where nobody speaks and none was given")
    duration_s: float


class RecordingEvent(Recording, AnalysisHead):
    """`audio.transcription` in a stream: all but the answer."""

    object: Literal["audio.transcription"]


class AudioAnalysis(AnalysisAnswer, Recording, AnalysisHead):
    """The answer of POST /v1/audio/transcribe."""

    object: Literal["audio.transcription"]


class TranscriptPartEvent(TranscriptText):
    """`audio.transcription.part`: what follows the parts before."""

    id: str
    object: Literal["audio.transcription.part"]
