"""Test media, made when a test asks for them: nothing is downloaded, nothing binary lies in the repository.

Origin: all of it is made by us. Speech is synthesised by espeak-ng, pictures are drawn with Pillow and its
built-in font, clips are encoded by ffmpeg. Each function returns encoded bytes and remembers them for the
length of the process.

    media.speech("the meeting starts at nine")
    media.speech("the meeting starts at nine", "mp3")
    media.picture_with_text("TOTAL 42 EUR", size=(640, 320))
    media.captioned_clip([("red", "CHAPTER ONE"), ("blue", "THE END")], voice="hello there", container="webm")
    media.cut_clip((("red", "ONE", 3.0), ("blue", "TWO", 0.8)), fade_s=0.5)
    media.data_url("image/png", media.plain("teal"))
"""

from __future__ import annotations

import base64
import io
import struct
import subprocess
import wave
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

from PIL import Image, ImageDraw, ImageFont

PictureFormat: TypeAlias = Literal["png", "jpeg", "webp", "gif", "bmp", "tiff"]
SoundFormat: TypeAlias = Literal["wav", "mp3", "flac", "ogg", "m4a", "aac", "mp4", "webm"]
ClipFormat: TypeAlias = Literal["mp4", "mov", "webm", "mkv"]
Size: TypeAlias = tuple[int, int]
Captions: TypeAlias = Sequence[tuple[str, str]]

PICTURE_FORMATS: tuple[PictureFormat, ...] = ("png", "jpeg", "webp", "gif", "bmp", "tiff")
SOUND_FORMATS: tuple[SoundFormat, ...] = ("wav", "mp3", "flac", "ogg", "m4a", "aac", "mp4", "webm")
CLIP_FORMATS: tuple[ClipFormat, ...] = ("mp4", "mov", "webm", "mkv")

CAPTIONS: Captions = (("firebrick", "CHAPTER ONE"), ("darkgreen", "CHAPTER TWO"), ("navy", "THE END"))
"""Background colour and caption of the three scenes of the usual clip."""

CLIP_FPS = 10

_SOUND_CODECS: dict[str, list[str]] = {
    "mp3": ["-c:a", "libmp3lame", "-b:a", "96k"],
    "flac": ["-c:a", "flac"],
    "ogg": ["-c:a", "libvorbis"],
    "m4a": ["-c:a", "aac", "-f", "ipod"],
    "aac": ["-c:a", "aac", "-f", "adts"],
    "mp4": ["-c:a", "aac"],
    "webm": ["-c:a", "libopus"],
}
_H264 = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p", "-c:a", "aac"]
_VP8 = ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1M", "-c:a", "libopus"]
_CLIP_CODECS: dict[str, list[str]] = {"mp4": _H264, "mov": _H264, "mkv": _H264, "webm": _VP8}


def data_url(mime: str, data: bytes) -> str:
    """`data:<mime>;base64,...`"""
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def truncated(data: bytes, keep: float = 0.5) -> bytes:
    """The first part of a file, as a broken upload leaves it."""
    return data[: int(len(data) * keep)]


# --- sound -------------------------------------------------------------------------------------


@cache
def speech(text: str, container: SoundFormat = "wav", *, words_per_minute: int = 150) -> bytes:
    """A synthetic voice that says `text`; 22,050 Hz, mono."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        voice = ["-v", "en-us", "-s", str(words_per_minute)]
        subprocess.run(["espeak-ng", *voice, "-w", str(path), text], check=True)
        recording = path.read_bytes()
    return as_sound(recording, container)


@cache
def silence(seconds: float, container: SoundFormat = "wav") -> bytes:
    """Nothing to hear."""
    return as_sound(wav([0] * int(seconds * 8000), rate_hz=8000), container)


@cache
def tone(seconds: float, *, rate_hz: int = 16_000, channels: int = 1) -> bytes:
    """A wav with a square wave: half of full scale, 100 Hz, the same on all channels."""
    half = rate_hz // 200
    period = [16_000] * half * channels + [-16_000] * half * channels
    count = int(seconds * rate_hz) * channels
    return wav((period * (count // len(period) + 1))[:count], rate_hz=rate_hz, channels=channels)


def wav(samples: Sequence[int], *, rate_hz: int, channels: int = 1) -> bytes:
    """16-bit PCM."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return buffer.getvalue()


def as_sound(recording: bytes, container: SoundFormat) -> bytes:
    """A wav in another format."""
    if container == "wav":
        return recording
    return _ffmpeg({"in.wav": recording}, ["-i", "in.wav", *_SOUND_CODECS[container]], f"out.{container}")


# --- pictures ----------------------------------------------------------------------------------


@cache
def plain(colour: str, format: PictureFormat = "png", *, size: Size = (64, 48)) -> bytes:
    """One colour all over."""
    return encode(Image.new("RGB", size, colour), format)


@cache
def picture_with_text(
    text: str,
    format: PictureFormat = "png",
    *,
    size: Size = (640, 320),
    colour: str = "white",
    text_colour: str = "black",
) -> bytes:
    """A printed line (or lines, at newlines) in the middle of a plain background."""
    return encode(draw_text(text, size=size, colour=colour, text_colour=text_colour), format)


def draw_text(text: str, *, size: Size, colour: str = "white", text_colour: str = "black") -> Image.Image:
    """The picture itself. The line is as large as 4/5 of the width and a third of the height allow."""
    picture = Image.new("RGB", size, colour)
    draw = ImageDraw.Draw(picture)
    font_px = size[1] / 3 / (text.count("\n") + 1)
    left, _, right, _ = draw.textbbox((0, 0), text, ImageFont.load_default(font_px))
    font = ImageFont.load_default(font_px * min(1.0, 0.8 * size[0] / (right - left)))
    draw.text((size[0] / 2, size[1] / 2), text, text_colour, font, anchor="mm", align="center")
    return picture


@cache
def animation(colours: tuple[str, ...], format: Literal["gif", "webp", "png"] = "gif") -> bytes:
    """Plain frames, one after the other."""
    first, *others = [Image.new("RGB", (64, 48), colour) for colour in colours]
    buffer = io.BytesIO()
    first.save(buffer, format, save_all=True, append_images=others, duration=200)
    return buffer.getvalue()


def quarters(size: Size = (80, 40)) -> Image.Image:
    """Red, lime (above), blue, white (below): shows which side is up."""
    width, height = size[0] // 2, size[1] // 2
    picture = Image.new("RGB", size, "white")
    for colour, corner in (("red", (0, 0)), ("lime", (width, 0)), ("blue", (0, height))):
        picture.paste(colour, (*corner, corner[0] + width, corner[1] + height))
    return picture


@cache
def exif_turned(orientation: int, format: Literal["jpeg", "tiff", "webp", "png"] = "jpeg") -> bytes:
    """`quarters()` stored turned or mirrored, with the EXIF orientation (1 to 8) that sets it right."""
    stored_as = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = quarters()
    stored = upright.transpose(stored_as[orientation]) if orientation in stored_as else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(stored, format, exif)


def encode(picture: Image.Image, format: PictureFormat, exif: Image.Exif | None = None) -> bytes:
    """A picture as a file; JPEG and WebP at high quality."""
    buffer = io.BytesIO()
    quality = {"quality": 95} if format in ("jpeg", "webp") else {}
    picture.save(buffer, format, **quality, **({"exif": exif.tobytes()} if exif else {}))
    return buffer.getvalue()


# --- video -------------------------------------------------------------------------------------


def captioned_clip(
    captions: Captions = CAPTIONS,
    *,
    voice: str | None = "the meeting starts at nine",
    seconds: float = 10.0,
    container: ClipFormat = "mp4",
    size: Size = (640, 360),
) -> bytes:
    """Scenes of equal length, each a caption in white on its colour, and a voice from the first second on.

    There is a key frame at each cut. `voice=None`: no sound track.
    """
    return _captioned_clip(tuple(captions), voice, seconds, container, size)


@cache
def _captioned_clip(
    captions: tuple[tuple[str, str], ...],
    voice: str | None,
    seconds: float,
    container: ClipFormat,
    size: Size,
) -> bytes:
    files: dict[str, bytes] = {}
    arguments: list[str] = []
    bounds = [round(number * seconds * CLIP_FPS / len(captions)) for number in range(len(captions) + 1)]
    for number, (colour, caption) in enumerate(captions):
        name = f"{number}.png"
        files[name] = encode(draw_text(caption, size=size, colour=colour, text_colour="white"), "png")
        scene_s = (bounds[number + 1] - bounds[number]) / CLIP_FPS
        arguments += ["-loop", "1", "-framerate", str(CLIP_FPS), "-t", str(scene_s), "-i", name]
    graph = "".join(f"[{i}:v]" for i in range(len(captions))) + f"concat=n={len(captions)}:v=1:a=0[v]"
    sound: list[str] = []
    if voice is not None:
        files["voice.wav"] = speech(voice)
        arguments += ["-i", "voice.wav"]
        graph += f";[{len(captions)}:a]adelay=1000,apad[a]"
        sound = ["-map", "[a]"]
    cuts = ",".join(str(bound / CLIP_FPS) for bound in bounds[:-1])
    arguments += ["-filter_complex", graph, "-map", "[v]", *sound, "-t", str(seconds)]
    arguments += ["-force_key_frames", cuts, *_CLIP_CODECS[container]]
    return _ffmpeg(files, arguments, f"clip.{container}")


@cache
def cut_clip(
    scenes: tuple[tuple[str, str, float], ...], *, fps: int = 25, fade_s: float = 0.0, size: Size = (320, 180)
) -> bytes:
    """Scenes of any length (colour, caption, seconds), without sound; key frames are where x264 wants them.

    With `fade_s` each fades into the next for that long; the middle of the fade is where the cut would be.
    """
    files: dict[str, bytes] = {}
    arguments: list[str] = []
    graph: list[str] = []
    last, end_s = "0", 0.0
    for number, (colour, caption, seconds) in enumerate(scenes):
        picture = draw_text(caption, size=size, colour=colour, text_colour="white")
        files[f"{number}.png"] = encode(picture, "png")
        shown_s = seconds + fade_s * (1 if 0 < number < len(scenes) - 1 else 0.5)
        arguments += ["-loop", "1", "-framerate", str(fps), "-t", str(shown_s), "-i", f"{number}.png"]
        if number and fade_s:
            graph.append(f"[{last}][{number}]xfade=duration={fade_s}:offset={end_s - fade_s / 2}[x{number}]")
            last = f"x{number}"
        end_s += seconds
    if not fade_s:
        graph = ["".join(f"[{number}]" for number in range(len(scenes))) + f"concat=n={len(scenes)}[all]"]
        last = "all"
    arguments += ["-filter_complex", ";".join(graph), "-map", f"[{last}]", *_H264, "-crf", "23"]
    return _ffmpeg(files, arguments, "clip.mp4")


def slide_show(pictures: Sequence[Image.Image], *, seconds_each: float = 2.0) -> bytes:
    """Each picture for so long, with hard cuts, without sound: MP4."""
    files: dict[str, bytes] = {}
    arguments: list[str] = []
    for number, picture in enumerate(pictures):
        files[f"{number}.png"] = encode(picture, "png")
        arguments += [
            "-loop",
            "1",
            "-framerate",
            str(CLIP_FPS),
            "-t",
            str(seconds_each),
            "-i",
            f"{number}.png",
        ]
    graph = "".join(f"[{number}]" for number in range(len(pictures))) + f"concat=n={len(pictures)}[all]"
    arguments += ["-filter_complex", graph, "-map", "[all]", *_H264, "-crf", "20"]
    return _ffmpeg(files, arguments, "clip.mp4")


@cache
def numbered_clip(frames: int = 100, container: ClipFormat = "mp4", *, size: Size = (160, 90)) -> bytes:
    """Frame `n` shows the binary digits of `n` as eight stripes: `frame_number` reads them back."""
    raw = b"".join(_stripes(number, size).tobytes() for number in range(frames))
    shape = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(CLIP_FPS)]
    codec = [*_CLIP_CODECS[container], "-g", "30"]
    return _ffmpeg({"raw": raw}, [*shape, "-i", "raw", *codec], f"clip.{container}")


def frame_number(picture: Image.Image) -> int:
    """What `numbered_clip` wrote into a frame."""
    width, height = picture.size
    grey = picture.convert("L")
    levels = [grey.getpixel((width * (2 * bit + 1) // 16, height // 2)) for bit in range(8)]
    return sum(1 << bit for bit, level in enumerate(levels) if isinstance(level, int) and level > 127)


def _stripes(number: int, size: Size) -> Image.Image:
    picture = Image.new("RGB", size)
    for bit in range(8):
        if number >> bit & 1:
            picture.paste("white", (size[0] * bit // 8, 0, size[0] * (bit + 1) // 8, size[1]))
    return picture


@cache
def late_sound_clip(late_s: float) -> bytes:
    """A plain clip of 4 s whose sound track begins `late_s` after its pictures, at once with a tone."""
    still = ["-loop", "1", "-framerate", str(CLIP_FPS), "-t", "4", "-i", "still.png"]
    files = {"still.png": plain("teal", size=(160, 90)), "tone.wav": tone(1.0)}
    sound = ["-itsoffset", str(late_s), "-i", "tone.wav"]
    return _ffmpeg(files, [*still, *sound, *_H264], "clip.mp4")


@cache
def turned_clip(degrees: Literal[90, 180, 270]) -> bytes:
    """A still clip of 80 x 40 `quarters()`, without sound, that asks to be shown turned clockwise."""
    still = ["-loop", "1", "-framerate", str(CLIP_FPS), "-t", "1", "-i", "still.png"]
    clip = bytearray(_ffmpeg({"still.png": encode(quarters(), "png")}, [*still, *_H264], "clip.mp4"))
    a, b = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    # Track header: 4 bytes of name, 40 of other fields, then the matrix, 16.16 fixed point.
    at = clip.index(b"tkhd") + 44
    clip[at : at + 20] = struct.pack(">5i", a << 16, b << 16, 0, -b << 16, a << 16)
    return bytes(clip)


# --- bombs -------------------------------------------------------------------------------------


def bomb(format: PictureFormat, side_px: int = 50_000) -> bytes:
    """A few hundred bytes to a few KB that claim to be a picture of `side_px` x `side_px` (WebP: 16,384)."""
    return _BOMBS[format](side_px)


def _png_bomb(side: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _jpeg_bomb(side: int) -> bytes:
    """A small JPEG whose frame header (SOF0) is given another size."""
    small = bytearray(encode(Image.new("L", (16, 16)), "jpeg"))
    at = small.index(b"\xff\xc0")
    small[at + 5 : at + 9] = struct.pack(">HH", side, side)
    return bytes(small)


def _webp_bomb(side: int) -> bytes:
    extended = struct.pack("<I", 0) + 2 * (min(side, 16_384) - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + extended + plain("red", "webp")[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _gif_bomb(side: int) -> bytes:
    small = bytearray(plain("red", "gif"))
    small[6:10] = struct.pack("<HH", side, side)
    return bytes(small)


def _bmp_bomb(side: int) -> bytes:
    small = bytearray(plain("red", "bmp"))
    small[18:26] = struct.pack("<ii", side, side)
    return bytes(small)


def _tiff_bomb(side: int) -> bytes:
    tags = ((256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (279, 4, 64))
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4 + 64)


_BOMBS = {
    "png": _png_bomb,
    "jpeg": _jpeg_bomb,
    "webp": _webp_bomb,
    "gif": _gif_bomb,
    "bmp": _bmp_bomb,
    "tiff": _tiff_bomb,
}


def _ffmpeg(files: dict[str, bytes], arguments: Sequence[str], output: str) -> bytes:
    """Run ffmpeg in a folder of its own that holds `files`; the bytes of the file that it writes."""
    with TemporaryDirectory() as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        command = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", *arguments, output]
        subprocess.run(command, cwd=folder, check=True)
        return (Path(folder) / output).read_bytes()
