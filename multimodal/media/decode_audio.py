"""Decode sound with FFmpeg (PyAV): mono, 32-bit float, at the sample rate that Whisper hears."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import InvalidDataError, LookupError, PatchWelcomeError
from numpy.typing import NDArray

from multimodal.errors import InvalidMedia, UnsupportedMedia
from multimodal.media.completeness import announced_packets, announced_s, check_complete, cut_short
from multimodal.media.limits import too_long
from multimodal.types import SAMPLE_RATE_HZ, Audio

_DEMUXERS = {
    "wav": "wav",
    "mp3": "mp3",
    "flac": "flac",
    "ogg": "ogg",
    "aac": "aac",
    "m4a": "mov",
    "mp4": "mov",
    "mov": "mov",
    "webm": "matroska",
    "mkv": "matroska",
}
"""FFmpeg's demuxer for each format. Named, because a demuxer for playlists would open other files."""

_TOLERANCE_S = 0.1
"""Recordings may end this much before what their header announces: encoder padding."""

_PADDING_S = 1.0
"""Packets together may play this much longer than what they decode to: encoder delay, edit lists."""

_FULL_SCALE = 32_768
"""Of 16-bit samples."""

_GAP_S = 0.1
"""Pauses in the time stamps of a sound track from which on they are filled with silence."""


def decode_audio(
    data: bytes,
    *,
    format_name: str,
    limit_s: float,
    sha256: str,
    param: str,
    on_duration: Callable[[float], None] | None = None,
) -> Audio:
    """Decode one recording.

    Args:
        data: the encoded recording.
        format_name: what `sniff` says it is.
        limit_s: longest allowed; decoding stops there.
        sha256: digest of `data`.
        param: names the part in errors.
        on_duration: is told the estimated seconds before decoding begins.

    Raises:
        MediaTooLarge: plays longer than `limit_s`.
        InvalidMedia: damaged, cut short, or without sound.
        UnsupportedMedia: of a codec without a decoder.
    """
    check_complete(data, format_name=format_name, param=param)
    with open_container(data, format_name, param) as container:
        stream = sound_stream(container, param)
        if stream is None:
            raise InvalidMedia("This file has no sound in it.", param=param)
        said_s = stated_s(container)
        if on_duration is not None:
            on_duration(min(limit_s, said_s))
        if said_s > limit_s:
            _check_packets(data, format_name, limit_s, param)
        samples, packets = _decode(container, stream, _Recorder(limit_s, None, param))
    duration_s = len(samples) / SAMPLE_RATE_HZ
    missing = duration_s + _TOLERANCE_S < (announced_s(data, format_name) or 0.0)
    if missing or packets + 1 < (announced_packets(data, format_name) or 0):
        raise cut_short(param)
    if not len(samples):
        raise InvalidMedia("This recording is empty: it has not one sample.", param=param)
    return Audio(sha256=sha256, samples=samples, duration_s=duration_s, format=format_name)


def decode_sound_track(
    data: bytes, *, format_name: str, limit_s: float, origin_s: float, sha256: str, param: str
) -> Audio | None:
    """Decode the sound of a video on the clock of its pictures; None where it has none.

    Args:
        origin_s: when the first frame is shown, on the container's clock. Sound that starts later, or
            pauses, is padded with silence; what sounds before is left out.

    The other arguments and the errors are those of `decode_audio`.
    """
    with open_container(data, format_name, param) as container:
        stream = sound_stream(container, param)
        if stream is None:
            return None
        samples, _ = _decode(container, stream, _Recorder(limit_s, origin_s, param))
    if not len(samples):
        return None
    return Audio(sha256=sha256, samples=samples, duration_s=len(samples) / SAMPLE_RATE_HZ, format=format_name)


@contextmanager
def open_container(data: bytes, format_name: str, param: str) -> Iterator[InputContainer]:
    """Open encoded media with the named demuxer; what FFmpeg cannot read surfaces as InvalidMedia.

    Raises:
        InvalidMedia: anything FFmpeg refuses, when opening or later in the block.
        UnsupportedMedia: what FFmpeg has no code for.
        MemoryError: more memory than this process may have.
    """
    try:
        demuxer = _DEMUXERS[format_name]
        with av.open(io.BytesIO(data), "r", format=demuxer, metadata_errors="replace") as container:
            yield container
    except MemoryError:
        raise
    except (PatchWelcomeError, LookupError) as error:
        raise UnsupportedMedia(
            "This file uses something that is not supported. Save it anew.", param=param
        ) from error
    except (av.FFmpegError, EOFError) as error:
        raise InvalidMedia("This file is damaged or cut short. Send it again.", param=param) from error


def sound_stream(container: InputContainer, param: str) -> AudioStream | None:
    """The first sound track, or None. Raises UnsupportedMedia where nothing decodes it."""
    if not container.streams.audio:
        return None
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        raise UnsupportedMedia("The codec of this sound is not supported. Use AAC, MP3 or Opus.", param=param)
    return stream


def stated_s(container: InputContainer) -> float:
    """Seconds by the header (a hint, never trusted); infinite where it says nothing."""
    return container.duration / av.time_base if container.duration and container.duration > 0 else inf


def _check_packets(data: bytes, format_name: str, limit_s: float, param: str) -> None:
    """Refuse a recording whose header says that it is too long, where its packets say so too.

    Without this it would be decoded up to the limit first, which takes seconds. A header alone is no reason.
    Raises MediaTooLarge.
    """
    left_s = limit_s + _PADDING_S
    with open_container(data, format_name, param) as container:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            left_s -= float((packet.duration or 0) * packet.time_base)
            if left_s < 0:
                raise too_long(limit_s, param)


def _decode(
    container: InputContainer, stream: AudioStream, recorder: _Recorder
) -> tuple[NDArray[np.float32], int]:
    """(n,) samples, and the number of packets that they came from.

    MP3 files are streams of frames without a container, in which tags and joints are common. Like every
    player, this skips what is no frame, where it is little.
    """
    packets = skipped = 0
    for packet in container.demux(stream):
        packets += packet.size > 0
        try:
            frames = packet.decode()
        except InvalidDataError:
            skipped += 1
            if container.format.name != "mp3" or skipped > 2 + packets // 100:
                raise
        else:
            for frame in frames:
                recorder.add(frame)
    return recorder.samples(), packets


class _Recorder:
    """Collects frames as mono samples, up to a limit."""

    def __init__(self, limit_s: float, origin_s: float | None, param: str) -> None:
        self._limit_s, self._origin_s, self._param = limit_s, origin_s, param
        self._blocks: list[NDArray[np.float32]] = []
        self._count = 0
        self._ahead = 0
        self._resampler: AudioResampler | None = None
        self._layout: tuple[str, str, int] | None = None

    def add(self, frame: AudioFrame) -> None:
        """Resample one decoded frame. Chained streams change their layout on the way."""
        layout = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or layout != self._layout:
            self._flush()
            self._layout = layout
            # Integers, because only for them FFmpeg mixes channels down without going over full scale.
            self._resampler = AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)
        if self._origin_s is not None and frame.time is not None:
            self._align(round((frame.time - self._origin_s) * SAMPLE_RATE_HZ))
        for resampled in self._resampler.resample(frame):
            self._keep(resampled)

    def samples(self) -> NDArray[np.float32]:
        """(n,) in [-1, 1], all that was added."""
        self._flush()
        joined = np.concatenate(self._blocks) if self._blocks else np.zeros(0, np.float32)
        return joined[self._ahead :]

    def _align(self, position: int) -> None:
        """Fill a gap before `position` (in samples) with silence; remember what lies before the origin."""
        if not self._count and position < 0:
            self._ahead = min(-position, int(self._limit_s * SAMPLE_RATE_HZ))
        gap = position + self._ahead - self._count
        if gap > _GAP_S * SAMPLE_RATE_HZ:
            self._reserve(gap)
            self._blocks.append(np.zeros(gap, np.float32))

    def _keep(self, frame: AudioFrame) -> None:
        self._reserve(frame.samples)
        self._blocks.append(frame.to_ndarray().reshape(-1).astype(np.float32) / np.float32(_FULL_SCALE))

    def _reserve(self, samples: int) -> None:
        self._count += samples
        if self._count - self._ahead > self._limit_s * SAMPLE_RATE_HZ:
            raise too_long(self._limit_s, self._param)

    def _flush(self) -> None:
        if self._resampler is not None:
            for resampled in self._resampler.resample(None):
                self._keep(resampled)
            self._resampler = None
