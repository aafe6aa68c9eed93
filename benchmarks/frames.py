"""16 frames of a clip, sampled as MediaLoader does: how many are decoded for them, and if they are right."""

from __future__ import annotations

import importlib
import io
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Protocol, TypeAlias, cast

import av
import numpy as np
import typer
from numpy.typing import NDArray

from benchmarks import limits
from benchmarks.common import Ratio, median, run
from benchmarks.findings import MIN_PAIRS, QUICK_PAIRS, Check, Finding, Target, check, console, publish
from benchmarks.in_process import Measured, take_turns
from benchmarks.sent_packets import sent_packets
from multimodal.config import Limits, LoaderArgs
from multimodal.media.decoder import decode
from multimodal.types import MediaKind, MediaSource, Video

Frames: TypeAlias = NDArray[np.uint8]

FPS = 30
SIZE = "1280x720"
SECONDS, QUICK_SECONDS = 60, 12
COUNT = 16
"""Frames that are sampled."""

FEW_DECODED = Target(at_most=1.1)
"""Issue 7: of the fewest that the keyframe distance allows."""
SAME_INDICES = Target(at_least=1.0)
CLOSE_LEVELS = Target(at_most=2.0)
"""Mean difference, of 255: both sides scale and convert colours, by libraries of different versions."""

OURS, DECORD, EVERYTHING = "ours", "decord's get_batch", "decoding everything"


@dataclass(frozen=True, slots=True)
class Packet:
    """One frame, in the order of decoding."""

    pts: int
    key: bool


class _Reader(Protocol):
    def get_batch(self, indices: Sequence[int]) -> _Batch: ...


class _Batch(Protocol):
    def asnumpy(self) -> Frames: ...


def made_clip(folder: Path, seconds: int) -> Path:
    """H.264 by x264 at its defaults (a keyframe each 250 frames), without sound: everything in it moves."""
    path = folder / "clip.mp4"
    source = f"testsrc2=size={SIZE}:rate={FPS}:duration={seconds}"
    _run(["ffmpeg", "-f", "lavfi", "-i", source, "-c:v", "libx264", "-pix_fmt", "yuv420p", str(path)])
    return path


def packets_of(path: Path) -> list[Packet]:
    """As ffprobe lists them."""
    what = ["-select_streams", "v:0", "-show_entries", "packet=pts,flags", "-of", "csv=p=0"]
    rows = _run(["ffprobe", *what, str(path)]).decode().split()
    return [Packet(int(pts), flags.startswith("K")) for pts, flags in (row.split(",")[:2] for row in rows)]


def fewest(packets: Sequence[Packet], indices: Sequence[int]) -> int:
    """Frames that must be decoded for those at `indices` (in the order in which they are shown).

    From the last keyframe that is shown no later, to the frame itself, in the order of decoding; each once.
    """
    shown = sorted(range(len(packets)), key=lambda at: packets[at].pts)
    needed: set[int] = set()
    for index in indices:
        at = shown[index]
        starts = [i for i in range(at + 1) if packets[i].key and packets[i].pts <= packets[at].pts]
        needed.update(range(starts[-1] if starts else 0, at + 1))
    return len(needed)


def ours(data: bytes) -> Video:
    """As a worker of MediaLoader does: hash, recognise, check, index, sample."""
    source = MediaSource(kind=MediaKind.VIDEO, data=data, param="clip", max_frames=COUNT)
    video = decode(source, Limits(), LoaderArgs())
    assert isinstance(video, Video)
    return video


def indices_of(video: Video) -> list[int]:
    """Of a clip at a constant FPS."""
    return [round(time_s * FPS) for time_s in video.times_s]


def by_decord(data: bytes, indices: Sequence[int], size: tuple[int, int]) -> Frames:
    """decord, as its manual says, at the same size."""
    decord = importlib.import_module("decord")
    reader = cast("_Reader", decord.VideoReader(io.BytesIO(data), width=size[0], height=size[1]))
    return reader.get_batch(list(indices)).asnumpy()


def by_everything(data: bytes, indices: Sequence[int], size: tuple[int, int]) -> Frames:
    """Every frame decoded in order, on one core; those that are wanted converted."""
    found, wanted = [], set(indices)
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(frame.reformat(*size, format="rgb24").to_ndarray().astype(np.uint8))
    return np.stack(found)


def by_ffmpeg(path: Path, indices: Sequence[int], size: tuple[int, int]) -> Frames:
    """(n, height, width, 3) of the frames that ffmpeg numbers so, ascending."""
    chosen = "+".join(f"eq(n\\,{index})" for index in indices)
    filters = f"select='{chosen}',scale={size[0]}:{size[1]}"
    output = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = _run(["ffmpeg", "-i", str(path), "-vf", filters, *output])
    return np.frombuffer(raw, np.uint8).reshape(-1, size[1], size[0], 3)


def same_as(frames: Frames, references: Frames) -> tuple[list[int], list[float]]:
    """For each frame which of `references` (n, candidates, ...) is nearest, and how far, mean levels."""
    nearest, far = [], []
    for frame, candidates in zip(frames, references, strict=True):
        differences = [
            float(np.abs(frame.astype(np.int16) - one.astype(np.int16)).mean()) for one in candidates
        ]
        nearest.append(int(np.argmin(differences)))
        far.append(min(differences))
    return nearest, far


def index_checks(path: Path, video: Video) -> list[Check]:
    """Each sampled frame among ffmpeg's frame of that number and its neighbours."""
    indices = indices_of(video)
    beside = [(index - 1, index, index + 1) for index in indices]
    size = video.frames.shape[2], video.frames.shape[1]
    references = by_ffmpeg(path, [index for three in beside for index in three], size)
    nearest, far = same_as(video.frames, references.reshape(len(indices), 3, *references.shape[1:]))
    same = sum(one == 1 for one in nearest) / len(indices)
    return [
        check("frames with ffmpeg's index", same, SAME_INDICES),
        check("difference from ffmpeg's frame, mean, worst frame", max(far), CLOSE_LEVELS, "levels of 255"),
    ]


def decoded_frames(data: bytes) -> dict[str, int]:
    """Frames that ours decodes, by the library that does; after a call that fills their tables."""
    ours(data)
    decord, context = (importlib.import_module(name) for name in ("decord._ffi.base", "av.codec.context"))
    with (
        sent_packets(Path(decord._LIB._name)) as sampled,
        sent_packets(Path(str(context.__file__))) as looked_at,
    ):
        ours(data)
    return {"decord": len(sampled), "PyAV, for the size": len(looked_at)}


def decoded_finding(decoded: dict[str, int], least: int) -> Finding:
    """A count has no uncertainty."""
    total = sum(decoded.values())
    ratio = Ratio(value=total / least, low=total / least, high=total / least)
    return Finding(
        name="decoded frames",
        sides="ours / fewest that the keyframes allow",
        ratio=ratio,
        first=total,
        second=least,
        unit="frames",
        target=FEW_DECODED,
    )


def measure(data: bytes, video: Video, pairs: int) -> Measured:
    """All sides in turn, at the same size."""
    indices, size = indices_of(video), (video.frames.shape[2], video.frames.shape[1])
    return take_turns(
        {
            OURS: partial(ours, data),
            DECORD: partial(by_decord, data, indices, size),
            EVERYTHING: partial(by_everything, data, indices, size),
        },
        pairs=pairs,
    )


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A short clip, one pair.")] = False,
) -> None:
    """Sample frames of a clip, and compare with decord's own way, and with decoding all of it."""
    seconds, pairs = (QUICK_SECONDS, QUICK_PAIRS) if quick else (SECONDS, MIN_PAIRS)
    with tempfile.TemporaryDirectory() as folder:
        path = made_clip(Path(folder), seconds)
        data, packets = path.read_bytes(), packets_of(path)
        video = ours(data)
        checks = index_checks(path, video)
    least = fewest(packets, indices_of(video))
    decoded = decoded_frames(data)
    measured = measure(data, video, pairs)
    bytes_per_s = bandwidth(quick)
    written = written_bytes(video, sum(decoded.values()))
    console.print(f"Frames {indices_of(video)} of {len(packets)}: decoded {decoded}, {least} at least.")
    findings = [
        decoded_finding(decoded, least),
        *measured.compare(OURS, DECORD),
        *measured.compare(OURS, EVERYTHING),
    ]
    details = {
        "checks": checks,
        "facts": facts_of(measured, least / len(packets), written, bytes_per_s),
        "indices": indices_of(video),
        "decoded": decoded,
        "turns": measured.as_json(),
    }
    publish("frames", findings, details, measured.others_cores)


def bandwidth(quick: bool) -> float:
    """Bytes per second of one core, as each side has. After the turns: no side needs torch."""
    import torch

    torch.set_num_threads(1)
    return limits.copied_bytes_per_s(limits.QUICK_REPEATS if quick else limits.REPEATS)


def written_bytes(video: Video, decoded: int) -> int:
    """Of the frames that are decoded (YUV 4:2:0: 12 bits a pixel), and of those that are returned."""
    return decoded * video.width * video.height * 3 // 2 + video.frames.nbytes


def facts_of(measured: Measured, needed: float, written: int, bytes_per_s: float) -> dict[str, float]:
    """How far the limits are.

    `needed`: share of all frames that must be decoded. `written`: bytes, by ours. `bytes_per_s`: what memory
    does at most.
    """
    limit_ms = needed * median(measured.costs[EVERYTHING].cpu_ms)
    over = median(measured.costs[OURS].cpu_ms) / limit_ms
    share = 1000 * written / median(measured.costs[OURS].wall_ms) / bytes_per_s
    return {
        "share of all frames that is needed": round(needed, 3),
        "CPU time over decoding just those": round(over, 3),
        "decoded frames, of memory bandwidth": round(share, 4),
        "memory bandwidth, GB/s": round(bytes_per_s / limits.GIGA, 1),
    }


def _run(command: Sequence[str]) -> bytes:
    """Its output. RuntimeError with what it says where it fails or is not installed."""
    try:
        done = subprocess.run([command[0], "-v", "error", *command[1:]], capture_output=True, check=True)
    except FileNotFoundError as error:
        raise RuntimeError(f"{command[0]} is needed to make the clip: install ffmpeg.") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"{command[0]} failed: {error.stderr.decode()[-300:]}") from error
    return done.stdout


if __name__ == "__main__":
    run(main)
