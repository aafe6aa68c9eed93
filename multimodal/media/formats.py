"""The file formats that are told apart, and which of them are decoded here."""

from __future__ import annotations

from dataclasses import dataclass

from multimodal.types import MediaKind

IMAGE, AUDIO, VIDEO, DOCUMENT = MediaKind.IMAGE, MediaKind.AUDIO, MediaKind.VIDEO, MediaKind.DOCUMENT

EXPECTED = {IMAGE: "a picture", AUDIO: "a sound recording", VIDEO: "a video", DOCUMENT: "a document"}
"""How an error names what a part should hold."""

SUPPORTED = {
    IMAGE: "PNG, JPEG, WebP, GIF, BMP, TIFF",
    AUDIO: "WAV, MP3, FLAC, Ogg, M4A, AAC, MP4, WebM",
    VIDEO: "MP4, WebM, MOV, Matroska",
    DOCUMENT: "PDF, plain text, Markdown, HTML, CSV, docx, xlsx, pptx",
}

UNKNOWN_TYPE = "application/octet-stream"
"""MIME type of what is not decoded here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFormat:
    """One file format."""

    name: str
    """Goes into `format` of the decoded medium."""
    label: str
    """How an error names it."""
    kinds: tuple[MediaKind, ...]
    """Which parts it may stand in, the usual one first; empty for archives."""
    media_type: str
    """MIME type; UNKNOWN_TYPE where it is not supported."""

    @property
    def supported(self) -> bool:
        """Whether there is a decoder for it."""
        return self.media_type != UNKNOWN_TYPE


def _known(name: str, label: str, *kinds: MediaKind, media_type: str = UNKNOWN_TYPE) -> MediaFormat:
    return MediaFormat(name=name, label=label, kinds=kinds, media_type=media_type)


def _office(name: str, label: str, format: str) -> MediaFormat:
    media_type = f"application/vnd.openxmlformats-officedocument.{format}"
    return _known(name, label, DOCUMENT, media_type=media_type)


FORMATS = {
    known.name: known
    for known in (
        _known("png", "a PNG picture", IMAGE, media_type="image/png"),
        _known("jpeg", "a JPEG picture", IMAGE, media_type="image/jpeg"),
        _known("webp", "a WebP picture", IMAGE, media_type="image/webp"),
        _known("gif", "a GIF picture", IMAGE, media_type="image/gif"),
        _known("bmp", "a BMP picture", IMAGE, media_type="image/bmp"),
        _known("tiff", "a TIFF picture", IMAGE, media_type="image/tiff"),
        _known("svg", "an SVG drawing", IMAGE),
        _known("heic", "a HEIC picture", IMAGE),
        _known("avif", "an AVIF picture", IMAGE),
        _known("jxl", "a JPEG XL picture", IMAGE),
        _known("jp2", "a JPEG 2000 picture", IMAGE),
        _known("ico", "an icon", IMAGE),
        _known("psd", "a Photoshop picture", IMAGE),
        _known("wav", "a WAV recording", AUDIO, media_type="audio/wav"),
        _known("mp3", "an MP3 recording", AUDIO, media_type="audio/mpeg"),
        _known("flac", "a FLAC recording", AUDIO, media_type="audio/flac"),
        _known("ogg", "an Ogg recording", AUDIO, media_type="audio/ogg"),
        _known("m4a", "an M4A recording", AUDIO, media_type="audio/mp4"),
        _known("aac", "an AAC recording", AUDIO, media_type="audio/aac"),
        _known("aiff", "an AIFF recording", AUDIO),
        _known("amr", "an AMR recording", AUDIO),
        _known("caf", "a CAF recording", AUDIO),
        _known("au", "an AU recording", AUDIO),
        _known("midi", "a MIDI file", AUDIO),
        _known("mp4", "an MP4 file", VIDEO, AUDIO, media_type="video/mp4"),
        _known("mov", "a QuickTime file", VIDEO, AUDIO, media_type="video/quicktime"),
        _known("webm", "a WebM file", VIDEO, AUDIO, media_type="video/webm"),
        _known("mkv", "a Matroska file", VIDEO, AUDIO, media_type="video/x-matroska"),
        _known("3gp", "a 3GP file", VIDEO, AUDIO),
        _known("avi", "an AVI video", VIDEO),
        _known("ogv", "an Ogg video", VIDEO),
        _known("asf", "a Windows Media file", VIDEO, AUDIO),
        _known("flv", "a Flash video", VIDEO),
        _known("mpeg", "an MPEG program stream", VIDEO),
        _known("mpegts", "an MPEG transport stream", VIDEO),
        _known("pdf", "a PDF document", DOCUMENT, media_type="application/pdf"),
        _known("text", "a text", DOCUMENT, media_type="text/plain"),
        _known("markdown", "a Markdown text", DOCUMENT, media_type="text/markdown"),
        _known("html", "an HTML page", DOCUMENT, media_type="text/html"),
        _known("csv", "a CSV table", DOCUMENT, media_type="text/csv"),
        _office("docx", "a Word document", "wordprocessingml.document"),
        _office("xlsx", "an Excel workbook", "spreadsheetml.sheet"),
        _office("pptx", "a PowerPoint presentation", "presentationml.presentation"),
        _known("ole", "an Office document of the old format, or one with a password", DOCUMENT),
        _known("odf", "an OpenDocument file", DOCUMENT),
        _known("epub", "an EPUB book", DOCUMENT),
        _known("rtf", "an RTF document", DOCUMENT),
        _known("zip", "a ZIP archive"),
        _known("gzip", "a gzip archive"),
    )
}
