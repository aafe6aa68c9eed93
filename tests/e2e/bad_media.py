"""Media that must be refused, and content parts that hold them. Made when they are asked for."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
from collections.abc import Callable

from multimodal.config import MIB
from tests import media

Part = dict[str, object]
Make = Callable[[], bytes]

PDF = b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n"
HTML = b"<!DOCTYPE html><html><body>404</body></html>"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
TEXT = b"I am a text, whatever they say."
AVI = b"RIFF\x24\0\0\0AVI LIST" + bytes(64)
AIFF = b"FORM\0\0\0\x24AIFFCOMM" + bytes(64)
NO_FRAMES = struct.pack(">I4s8s", 16, b"ftyp", b"isom\0\0\2\0") + struct.pack(">I4s", 8, b"moov")
"""An MP4 file in which nothing is."""


def url(data: bytes, mime: str) -> str:
    return media.data_url(mime, data)


def image(url: str) -> Part:
    return {"type": "image_url", "image_url": {"url": url}}


def picture(data: bytes) -> Part:
    return image(url(data, "image/png"))


def sound(data: bytes) -> Part:
    return spoken(base64.b64encode(data).decode())


def spoken(text: str) -> Part:
    return {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}


def video(data: bytes) -> Part:
    return film(url(data, "video/mp4"))


def film(url: str) -> Part:
    return {"type": "video_url", "video_url": {"url": url}}


def archive() -> bytes:
    """A ZIP archive, which office documents are, too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("word/document.xml", "<document/>")
    return buffer.getvalue()


def half(make: Make) -> Make:
    """A file of which the second half is missing."""
    return lambda: media.truncated(make())


def frayed(make: Make) -> Make:
    """A file that lacks its last bytes."""
    return lambda: make()[:-3]


def clip() -> bytes:
    return media.captioned_clip([("red", "A"), ("blue", "B")], seconds=2.0, size=(160, 90))


def voice(container: media.SoundFormat) -> Make:
    return lambda: media.speech("hello there", container)


def unknown_codec() -> bytes:
    """A clip whose pictures are in no codec that there is."""
    return clip().replace(b"avc1", b"zzzz")


def unknown_sound() -> bytes:
    """A WAV recording with a codec number that nobody has registered."""
    recording = bytearray(media.tone(0.5))
    recording[20:22] = struct.pack("<H", 0x1234)
    return bytes(recording)


def long_silence(container: media.SoundFormat) -> Make:
    """31 minutes of which little is left when they are compressed."""
    return lambda: media.silence(31 * 60, container)


def long_clip() -> bytes:
    """Six minutes of the same."""
    return media.captioned_clip([("black", "LONG")], voice=None, seconds=360, size=(64, 36))


def zeros(mebibytes: int) -> Make:
    """One byte more than so many MiB."""
    return lambda: bytes(mebibytes * MIB + 1)
