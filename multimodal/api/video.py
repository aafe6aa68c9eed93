"""POST /v1/video/analyze: scenes, the text in them and the transcript on one time line, and an answer to a
question about the video."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response

from multimodal.api.analysis import AnalysisCall, answer, hints_of, question_of
from multimodal.api.analysis_schemas import ANALYSIS_EVENTS
from multimodal.api.body import read_body
from multimodal.api.catalogue import ANALYZE
from multimodal.api.form import FILE
from multimodal.api.openapi import bodies, error_responses, stream_content
from multimodal.api.sampling import to_sampling
from multimodal.api.surface import Surface
from multimodal.api.transcript_format import as_recording
from multimodal.api.upload import Uploaded, is_form, read_form, require_file
from multimodal.api.video_examples import VIDEO_EXAMPLES, VIDEO_FORM_EXAMPLES
from multimodal.api.video_schemas import (
    Colour,
    VideoAnalysis,
    VideoEvent,
    VideoFrame,
    VideoOptions,
    VideoRequest,
    VideoScene,
    VideoUpload,
    WatchedVideo,
    WrittenLine,
)
from multimodal.errors import InvalidRequest
from multimodal.media.dataurl import parse_data_url
from multimodal.types import (
    AnalysisRequest,
    FrameSampling,
    MediaKind,
    MediaSource,
    Scene,
    TextLine,
    VideoFeatures,
)

VIDEO_URL = "video_url.url"

DEFAULT_SAMPLING = FrameSampling.SCENE
"""The answer is about scenes, so each should be seen. (Chat has UNIFORM.)"""

VideoCall = AnalysisCall[VideoFeatures]


def video_router(surface: Surface) -> APIRouter:
    """The endpoint over a surface."""
    router = APIRouter(tags=["video"])

    @router.post(
        ANALYZE,
        summary="Find the scenes, text and speech of a video, and answer a question about it",
        response_model=VideoAnalysis,
        responses={200: {"content": stream_content(VideoEvent, *ANALYSIS_EVENTS)}, **error_responses()},
        openapi_extra=bodies(
            json=VideoRequest,
            json_examples=VIDEO_EXAMPLES,
            form=VideoUpload,
            form_examples=VIDEO_FORM_EXAMPLES,
        ),
    )
    async def analyze(request: Request) -> Response:
        return await answer(surface, request, await _read(request, surface))

    return router


async def _read(request: Request, surface: Surface) -> VideoCall:
    converter = VideoConverter(surface)
    if is_form(request):
        return await read_form(
            request, VideoUpload, converter.of_form, limit_bytes=surface.args.limits.video_bytes
        )
    return await read_body(request, VideoRequest, converter.of_json)


class VideoConverter:
    """Converts one request. What is cheap to check is checked before the video is decoded from base64."""

    def __init__(self, surface: Surface) -> None:
        self._args = surface.args
        self._catalogue = surface.catalogue

    def of_json(self, body: VideoRequest) -> VideoCall:
        """Raises what `_call` raises, and what `parse_data_url` raises."""
        video = body.video_url
        self._check_frames(video.max_frames, "video_url.max_frames")
        self._check_frames(body.max_frames, "max_frames")
        declared, data = parse_data_url(video.url, limit_bytes=self._args.limits.video_bytes, param=VIDEO_URL)
        source = MediaSource(
            kind=MediaKind.VIDEO,
            data=data,
            param=VIDEO_URL,
            declared_type=declared,
            frame_sampling=video.frame_sampling or body.frame_sampling or DEFAULT_SAMPLING,
            max_frames=video.max_frames or body.max_frames,
        )
        return self._call(body, source)

    def of_form(self, body: VideoUpload, uploaded: Uploaded | None) -> VideoCall:
        """Raises what `_call` raises, and InvalidRequest without a file."""
        file = require_file(uploaded)
        self._check_frames(body.max_frames, "max_frames")
        source = MediaSource(
            kind=MediaKind.VIDEO,
            data=file.data,
            param=FILE,
            declared_type=file.declared_type,
            frame_sampling=body.frame_sampling or DEFAULT_SAMPLING,
            max_frames=body.max_frames,
        )
        return self._call(body, source)

    def _check_frames(self, max_frames: int | None, param: str) -> None:
        allowed = self._args.loader.max_frames_limit
        if max_frames is not None and max_frames > allowed:
            raise InvalidRequest(f"max_frames must be at most {allowed}.", param=param)

    def _call(self, body: VideoOptions, source: MediaSource) -> VideoCall:
        """Raises ModelNotFound and InvalidRequest."""
        model = self._catalogue.find(body.model or self._args.generator.served_name, ANALYZE).id
        options = body.stream_options
        return AnalysisCall(
            request=AnalysisRequest(
                source=source,
                hints=hints_of(body),
                question=question_of(body),
                sampling=to_sampling(body, self._args),
            ),
            features=VideoFeatures,
            describe=partial(as_watched, sampling=source.frame_sampling),
            object="video.analysis",
            id_prefix="video",
            model=model,
            stream=bool(body.stream),
            include_stages=bool(options and options.include_stages),
        )


def as_watched(video: VideoFeatures, sampling: FrameSampling) -> WatchedVideo:
    """What is known of a video, in the words of the API. Times are written to the millisecond."""
    frames = [
        VideoFrame(time_s=_written(time_s), scene=index)
        for index, scene in enumerate(video.scenes)
        for time_s in scene.times_s
    ]
    return WatchedVideo(
        duration_s=_written(video.duration_s),
        width=video.width,
        height=video.height,
        frame_sampling=sampling,
        frames=frames,
        scenes=[_scene(index, scene) for index, scene in enumerate(video.scenes)],
        transcript=None if video.transcript is None else as_recording(video.transcript, timestamps=True),
    )


def _scene(index: int, scene: Scene) -> VideoScene:
    return VideoScene(
        index=index,
        start_s=_written(scene.start_s),
        end_s=_written(scene.end_s),
        frame_times_s=[_written(time_s) for time_s in scene.times_s],
        text="\n".join(line.text for line in scene.text.lines),
        lines=[_line(line) for line in scene.text.lines],
        colours=[Colour(name=colour.name, share=round(colour.share, 4)) for colour in scene.image.colours],
    )


def _line(line: TextLine) -> WrittenLine:
    return WrittenLine(
        text=line.text,
        confidence=round(line.confidence, 4),
        box=[round(edge, 4) for edge in line.box],
    )


def _written(time_s: float) -> float:
    return round(time_s, 3)
