"""Bodies and answers of POST /v1/video/analyze."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from multimodal.api.analysis_schemas import AnalysisAnswer, AnalysisHead, AnalysisOptions, with_file
from multimodal.api.audio_schemas import Recording
from multimodal.api.content import FrameOptions, SamplingName, VideoUrl

# --- requests ----------------------------------------------------------------------------------


class VideoOptions(AnalysisOptions, FrameOptions):
    frame_sampling: SamplingName | None = Field(
        None,
        description=(
            "which frames are looked at: one of each scene, the encoder's key frames, or frames at equal "
            "distances; default scene"
        ),
    )


class VideoUpload(VideoOptions):
    """POST /v1/video/analyze, as multipart/form-data."""

    model_config = ConfigDict(json_schema_extra=with_file)


class VideoRequest(VideoOptions):
    """POST /v1/video/analyze, as JSON. `frame_sampling` and `max_frames` may stand in `video_url` too."""

    video_url: VideoUrl


# --- answers -----------------------------------------------------------------------------------


class VideoFrame(BaseModel):
    """A frame that was looked at."""

    time_s: float
    scene: int = Field(description="index of its scene")


class WrittenLine(BaseModel):
    """A line of text that was read in a picture."""

    text: str
    confidence: float = Field(description="from 0 to 1")
    box: list[float] = Field(
        min_length=4, max_length=4, description="left, top, right, bottom as fractions of the picture"
    )


class Colour(BaseModel):
    name: str
    share: float = Field(description="of the picture, from 0 to 1")


class VideoScene(BaseModel):
    """Successive frames that look alike."""

    index: int
    start_s: float
    end_s: float
    frame_times_s: list[float]
    text: str = Field(description="what is written in it, one line for each of lines")
    lines: list[WrittenLine] = Field(description="in reading order")
    colours: list[Colour] = Field(description="the dominant ones, largest share first")


class WatchedVideo(BaseModel):
    """What is known of a video. Times are in seconds from its start."""

    duration_s: float
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    frame_sampling: SamplingName
    frames: list[VideoFrame] = Field(description="in the order of time")
    scenes: list[VideoScene] = Field(description="in the order of time, without gaps")
    transcript: Recording | None = Field(description="null where the video has no sound track")


class VideoEvent(WatchedVideo, AnalysisHead):
    """`video.analysis` in a stream: all but the answer."""

    object: Literal["video.analysis"]


class VideoAnalysis(AnalysisAnswer, WatchedVideo, AnalysisHead):
    """The answer of POST /v1/video/analyze."""

    object: Literal["video.analysis"]
