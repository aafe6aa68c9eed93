"""What the encoders say of a file, as segments. Pure functions: whoever calls them embeds the texts.

Segments are numbered in their file, and their ids follow from that: the same file always has the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from multimodal.errors import MultimodalError
from multimodal.identity import segment_id
from multimodal.library.records import FileRecord
from multimodal.retrieval.types import Segment, SegmentPart, Vector
from multimodal.types import (
    DocumentFeatures,
    ImageFeatures,
    ImageText,
    PageFeatures,
    Scene,
    Transcript,
    TranscriptSegment,
    VideoFeatures,
)

FEW_WORDS = 4
"""With fewer, a stretch of speech says too little to be found: it is joined with its neighbour."""
PAUSE_S = 1.0
"""Longest silence within joined speech, seconds."""
SPEECH_S = 30.0
"""Longest stretch of joined speech, seconds."""
TEXT_LIMIT = 10_000
"""Characters of one segment; a page that is all small print has about 5,000."""


def of_picture(file: FileRecord, image: ImageFeatures, text: ImageText) -> list[Segment]:
    """One segment."""
    return _numbered([_seen(_blank(file, SegmentPart.PICTURE), image, text)])


def of_video(file: FileRecord, video: VideoFeatures) -> list[Segment]:
    """One segment for each scene, then what is said."""
    blank = _blank(file, SegmentPart.PICTURE, video.duration_s)
    spoken = of_recording(file, video.transcript) if video.transcript else []
    return _numbered(
        [
            *(_of_scene(blank, scene) for scene in video.scenes),
            *(replace(one, duration_s=video.duration_s) for one in spoken),
        ]
    )


def of_recording(file: FileRecord, transcript: Transcript) -> list[Segment]:
    """One segment for each stretch of speech; none where nobody speaks."""
    blank = _blank(file, SegmentPart.SPEECH, transcript.duration_s)
    return _numbered(
        [
            replace(blank, text=_clean(said.text), start_s=said.start_s, end_s=said.end_s)
            for said in joined(transcript.segments)
        ]
    )


def of_pages(file: FileRecord, document: DocumentFeatures, first_ordinal: int = 0) -> list[Segment]:
    """Of each page how it looks, where that is known, then its chunks, numbered from `first_ordinal` on."""
    return _numbered([segment for page in document.pages for segment in _of_page(file, page)], first_ordinal)


def copied(file: FileRecord, segments: Iterable[Segment]) -> list[Segment]:
    """Segments of another file of the same bytes as those of this one."""
    return [
        replace(
            segment,
            id=segment_id(file.id, segment.sha256, segment.ordinal),
            tenant=file.tenant,
            file_id=file.id,
            created_s=file.created_s,
            metadata=file.metadata,
        )
        for segment in segments
    ]


def texts_of(segments: Iterable[Segment]) -> list[str]:
    """What is to be embedded, in order: see `with_words`."""
    return [segment.text for segment in segments if segment.text]


def with_words(segments: Iterable[Segment], vectors: Sequence[Vector]) -> list[Segment]:
    """Segments with the vectors of their texts; `vectors` has one for each of `texts_of(segments)`."""
    left = iter(vectors)
    return [replace(segment, words=next(left)) if segment.text else segment for segment in segments]


def joined(speech: Iterable[TranscriptSegment]) -> list[TranscriptSegment]:
    """Speech in which scraps of a few words are one with their neighbours, where no long pause is between."""
    result: list[TranscriptSegment] = []
    for said in speech:
        if not said.text.strip():
            continue
        if result and _belong_together(result[-1], said):
            before = result.pop()
            said = replace(before, text=f"{before.text.strip()} {said.text.strip()}", end_s=said.end_s)
        result.append(said)
    return result


def _belong_together(one: TranscriptSegment, other: TranscriptSegment) -> bool:
    scrap = min(len(one.text.split()), len(other.text.split())) < FEW_WORDS
    near = other.start_s - one.end_s < PAUSE_S
    return scrap and near and other.end_s - one.start_s <= SPEECH_S


def _of_scene(blank: Segment, scene: Scene) -> Segment:
    seen = _seen(blank, scene.image, scene.text)
    return replace(seen, start_s=scene.start_s, end_s=scene.end_s, frames_s=scene.times_s)


def _of_page(file: FileRecord, page: PageFeatures) -> list[Segment]:
    segments = []
    if page.image is not None:
        look = _seen(_blank(file, SegmentPart.PAGE), page.image, ImageText(lines=()))
        segments.append(replace(look, page=page.number))
    blank = replace(_blank(file, SegmentPart.TEXT), page=page.number)
    chunks = (replace(blank, text=_clean(chunk.text), box=chunk.box) for chunk in page.chunks)
    return [*segments, *(chunk for chunk in chunks if chunk.text)]


def _seen(blank: Segment, image: ImageFeatures, text: ImageText) -> Segment:
    return replace(
        blank,
        text=_clean("\n".join(line.text for line in text.lines)),
        width=image.width,
        height=image.height,
        logit_scale=image.logit_scale,
        picture=image.vector,
    )


def _blank(file: FileRecord, part: SegmentPart, duration_s: float | None = None) -> Segment:
    """A segment without a number. Raises MultimodalError for a file that holds nothing to be found."""
    if file.kind is None:
        raise MultimodalError("A file that has no segments was to be given some.")
    return Segment(
        id="",
        tenant=file.tenant,
        file_id=file.id,
        sha256=file.content.sha256,
        kind=file.kind,
        part=part,
        ordinal=0,
        created_s=file.created_s,
        duration_s=duration_s,
        metadata=file.metadata,
    )


def _numbered(segments: Sequence[Segment], first: int = 0) -> list[Segment]:
    return [
        replace(segment, id=segment_id(segment.file_id, segment.sha256, ordinal), ordinal=ordinal)
        for ordinal, segment in enumerate(segments, first)
    ]


def _clean(text: str) -> str:
    return text.strip()[:TEXT_LIMIT]
