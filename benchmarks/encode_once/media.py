"""Pictures, speech and clips that nobody has seen before. Needs espeak-ng and ffmpeg for the last two."""

from __future__ import annotations

import base64
import io
import subprocess
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
from PIL import Image

from benchmarks import made_up

GRAIN = 0.08
"""Share of noise in a picture: a 12-megapixel JPEG then has about the size of a photograph."""
JPEG_QUALITY = 90

CLIP_PX = (640, 360)
CLIP_FPS = 10
CLIP_SCENES = 6

SENTENCES_PER_S = 0.8
"""More than espeak-ng says: what is too much is cut off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """Encoded media."""

    kind: Literal["image", "audio", "video"]
    data: bytes = field(repr=False)

    def part(self) -> dict[str, object]:
        """A content part of OpenAI's API."""
        text = base64.b64encode(self.data).decode()
        if self.kind == "image":
            return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{text}"}}
        if self.kind == "video":
            return {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{text}"}}
        return {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}


class FreshMedia:
    """Every call makes another one; no two runs make the same, unless they have the same seed."""

    def __init__(self, seed: int | None = None) -> None:
        self._random = np.random.default_rng(seed)
        self._sentences = [f"There was {one}." for one in made_up.descriptions()]

    def photo(self, width_px: int, height_px: int) -> Medium:
        """Soft patches of colour, with grain (JPEG). There is no text in it."""
        size = width_px, height_px
        patches = Image.fromarray(self._noise(6, 8)).resize(size, Image.Resampling.BICUBIC)
        grain = Image.fromarray(self._noise(height_px // 2, width_px // 2)).resize(size)
        buffer = io.BytesIO()
        Image.blend(patches, grain, GRAIN).save(buffer, "jpeg", quality=JPEG_QUALITY)
        return Medium(kind="image", data=buffer.getvalue())

    def speech(self, seconds: float) -> Medium:
        """A synthetic voice (WAV, mono) that does not stop. Raises RuntimeError without espeak-ng."""
        count = round(seconds * SENTENCES_PER_S) + 4
        text = " ".join(str(one) for one in self._random.choice(self._sentences, count))
        with TemporaryDirectory() as folder:
            _run(["espeak-ng", "-v", "en-us", "-s", "150", "-w", "speech.wav", text], Path(folder))
            return Medium(kind="audio", data=_cut((Path(folder) / "speech.wav").read_bytes(), seconds))

    def clip(self, seconds: float) -> Medium:
        """Scenes of equal length, hard cuts, and a voice all the time (MP4). Raises RuntimeError without
        ffmpeg or espeak-ng."""
        arguments: list[str] = []
        with TemporaryDirectory() as name:
            folder = Path(name)
            for number in range(CLIP_SCENES):
                (folder / f"{number}.jpg").write_bytes(self.photo(*CLIP_PX).data)
                still = ["-loop", "1", "-framerate", str(CLIP_FPS), "-t", str(seconds / CLIP_SCENES)]
                arguments += [*still, "-i", f"{number}.jpg"]
            (folder / "voice.wav").write_bytes(self.speech(seconds).data)
            arguments += ["-i", "voice.wav", "-filter_complex", f"concat=n={CLIP_SCENES}[v]"]
            arguments += ["-map", "[v]", "-map", f"{CLIP_SCENES}:a", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
            command = ["ffmpeg", "-nostdin", "-v", "error", *arguments, "-preset", "veryfast", "clip.mp4"]
            _run(command, folder)
            return Medium(kind="video", data=(folder / "clip.mp4").read_bytes())

    def _noise(self, rows: int, columns: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        return self._random.integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def _cut(recording: bytes, seconds: float) -> bytes:
    """The first seconds of a WAV. Raises RuntimeError where it is shorter."""
    buffer = io.BytesIO()
    with wave.open(io.BytesIO(recording)) as whole, wave.open(buffer, "wb") as part:
        frames = round(seconds * whole.getframerate())
        if whole.getnframes() < frames:
            raise RuntimeError(f"espeak-ng said less than {seconds} s of words.")
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(frames))
    return buffer.getvalue()


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True)
    except FileNotFoundError:
        raise RuntimeError(f"This benchmark needs {command[0]}.") from None
