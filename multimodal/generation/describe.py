"""Puts what the encoders measured into words, for the prompt.

Pure functions from features to `MediaPart`. Only what was measured is said: text that was read, words that
were heard, colours, times and sizes. Lines are short, because small models lose themselves in long ones, and
a short summary comes first, because the last lines are dropped first and small models answer with what they
read last. All wording is in the first section; it was chosen by reading the embedded model's answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from multimodal.generation.timeline import Said, place
from multimodal.types import (
    Chunk,
    ColourShare,
    DocumentFeatures,
    ImageFeatures,
    ImageText,
    MediaKind,
    MediaPart,
    PageFeatures,
    Scene,
    TextLine,
    Transcript,
    TranscriptSegment,
    VideoFeatures,
)

LINE_CHARACTERS = 300
"""Text that was read is broken into lines of about this length, so that it can be dropped bit by bit."""
SAME_ROW = 0.5
"""Pieces of text stand in one row when they overlap by more than this share of the lower one's height."""
MAIN_SHARE = 0.5
"""A scene is "mostly" a colour that covers this much of it."""

# --- wording -------------------------------------------------------------------------------------

NO_TEXT = "There is no text in the picture."
NO_SPEECH = "The recording is silent. Nobody speaks in it."
NO_SPEECH_IN_VIDEO = "Nobody speaks in the video."
NO_SOUND = "The video has no sound."
NO_TEXT_IN_DOCUMENT = "There is no text in the document."


def _picture_line(width: int, height: int, colours: str) -> str:
    size = f"A picture of {width} x {height} pixels"
    return f"{size} with the colours {colours}." if colours else f"{size}."


def _text_line(quotes: str) -> str:
    return f"The text in the picture says {quotes}."


def _more_text_line(quotes: str) -> str:
    return f"It also says {quotes}."


def _recording_line(seconds: float) -> str:
    return f"A recording of {_number(seconds)} seconds."


def _video_line(seconds: float, scenes: int, width: int, height: int) -> str:
    count = "1 scene" if scenes == 1 else f"{scenes} scenes"
    return f"A video of {_number(seconds)} seconds, {width} x {height} pixels, with {count}."


def _heard_line(start_s: float, end_s: float, quote: str) -> str:
    return f"{_times(start_s, end_s)}, the speaker says {quote}."


def _scene_line(number: int, start_s: float, end_s: float, look: str, screen: str, said: str) -> str:
    look = f"the screen is {look} and" if look else "the screen"
    seen = f"{look} says {screen}" if screen else f"{look} shows no text"
    said = f" The speaker says {said}." if said else ""
    return f"Scene {number}, {_times(start_s, end_s).lower()}: {seen}.{said}"


def _more_screen_line(number: int, quotes: str) -> str:
    return f"Scene {number} also shows {quotes}."


def _document_title(title: str) -> str:
    return f"Document {title}"


def _read_line(pages: int, first: int, last: int) -> str:
    read = (
        f"Only page {first} of {pages} was"
        if first == last
        else f"Only pages {first} to {last} of {pages} were"
    )
    return f"{read} read."


def _page_line(number: int, pages: int) -> str:
    return "The document says:" if pages == 1 else f"Page {number} says:"


def _look(colours: Sequence[ColourShare]) -> str:
    if not colours:
        return ""
    if colours[0].share >= MAIN_SHARE:
        return f"mostly {colours[0].name}"
    return " and ".join(colour.name for colour in colours[:2])


def _times(start_s: float, end_s: float) -> str:
    return f"From {_number(start_s)} to {_number(end_s)} seconds"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _quote(text: str) -> str:
    """On one line, and with no quotation mark inside that could be taken for the end."""
    return '"' + " ".join(text.split()).replace('"', "'") + '"'


# --- pictures ------------------------------------------------------------------------------------


def describe_image(param: str, features: ImageFeatures, text: ImageText | None) -> MediaPart:
    """A picture: size, colours, what is written in it. `text` is None where nobody looked for any."""
    colours = " and ".join(colour.name for colour in features.colours)
    lines = [_picture_line(features.width, features.height, colours)]
    if text is not None:
        first, *more = _quotes(text) or [""]
        lines += [_text_line(first) if first else NO_TEXT, *map(_more_text_line, more)]
    # Small models answer with what they read last: what is written in a picture, else what it shows.
    after = len(lines) if text is None or not text.lines else 1
    return MediaPart(kind=MediaKind.IMAGE, param=param, lines=tuple(lines), visual_after=after)


def _quotes(text: ImageText) -> list[str]:
    """The rows of a text in quotation marks, as many together as make a line. Empty for no text."""
    packed: list[str] = []
    for quote in map(_quote, _rows(text.lines)):
        if packed and len(packed[-1]) + len(quote) < LINE_CHARACTERS:
            packed[-1] += f", {quote}"
        else:
            packed.append(quote)
    return packed


def _rows(lines: Iterable[TextLine]) -> list[str]:
    """The lines, those in one row of the picture joined: "Coffee" and "3.50" belong together."""
    rows: list[str] = []
    last: TextLine | None = None
    for line in lines:
        if last is not None and _continues(last, line):
            rows[-1] += f" {line.text}"
        else:
            rows.append(line.text)
        last = line
    return rows


def _continues(last: TextLine, line: TextLine) -> bool:
    """Whether a line stands to the right of another, at the same height."""
    overlap = min(last.box[3], line.box[3]) - max(last.box[1], line.box[1])
    lower = min(last.box[3] - last.box[1], line.box[3] - line.box[1])
    return line.box[0] >= last.box[2] and overlap > SAME_ROW * lower


# --- recordings ----------------------------------------------------------------------------------


def describe_audio(param: str, transcript: Transcript) -> MediaPart:
    """A recording: what is said, with times, or that nobody speaks; its length."""
    heard = [_heard_line(one.start_s, one.end_s, _quote(one.text)) for one in _spoken(transcript)]
    lines = (_recording_line(transcript.duration_s), *(heard or [NO_SPEECH]))
    return MediaPart(kind=MediaKind.AUDIO, param=param, lines=lines)


def _spoken(transcript: Transcript) -> list[TranscriptSegment]:
    return [segment for segment in transcript.segments if segment.text.strip()]


# --- videos --------------------------------------------------------------------------------------


def describe_video(param: str, features: VideoFeatures) -> MediaPart:
    """A video: scene by scene what is on the screen and what is said meanwhile, in the order of time.

    A sentence that goes on over a cut is split where the picture changes, if its words have times.
    """
    segments = _spoken(features.transcript) if features.transcript else []
    said = [piece for segment in segments for piece in place(segment, features.scenes)]
    lines = [
        _video_line(features.duration_s, len(features.scenes), features.width, features.height),
        *_time_line(features.scenes, said),
    ]
    if features.transcript is None:
        lines.append(NO_SOUND)
    elif not said:
        lines.append(NO_SPEECH_IN_VIDEO)
    wordless = not said and not any(scene.text.lines for scene in features.scenes)
    after = len(lines) if wordless else 1
    return MediaPart(kind=MediaKind.VIDEO, param=param, lines=tuple(lines), visual_after=after)


def _time_line(scenes: Sequence[Scene], said: Sequence[Said]) -> list[str]:
    """Scenes with what is said in them, and what is said outside all of them, in the order of time."""
    blocks = [
        (
            scene.start_s,
            _scene_lines(number + 1, scene, [piece.text for piece in said if piece.scene == number]),
        )
        for number, scene in enumerate(scenes)
    ]
    blocks += [
        (piece.start_s, [_heard_line(piece.start_s, piece.end_s, _quote(piece.text))])
        for piece in said
        if piece.scene is None
    ]
    return [line for _, block in sorted(blocks, key=lambda block: block[0]) for line in block]


def _scene_lines(number: int, scene: Scene, said: Sequence[str]) -> list[str]:
    first, *more = _quotes(scene.text) or [""]
    speech = _quote(" ".join(said)) if said else ""
    return [
        _scene_line(number, scene.start_s, scene.end_s, _look(scene.image.colours), first, speech),
        *(_more_screen_line(number, quotes) for quotes in more),
    ]


# --- documents -----------------------------------------------------------------------------------


def describe_document(param: str, features: DocumentFeatures) -> MediaPart:
    """A document: which of its pages were read where those are not all, and what they say, page by page."""
    numbers = [page.number for page in features.pages]
    lines = [line for page in features.pages for line in _page_lines(page, features.page_count)]
    if lines and len(numbers) < features.page_count:
        lines.insert(0, _read_line(features.page_count, min(numbers), max(numbers)))
    title = _document_title(_quote(features.title)) if features.title else None
    return MediaPart(
        kind=MediaKind.DOCUMENT, param=param, lines=tuple(lines or [NO_TEXT_IN_DOCUMENT]), title=title
    )


def _page_lines(page: PageFeatures, pages: int) -> Iterator[str]:
    lines = [piece for line in _fresh_lines(page.chunks) for piece in _broken(line)]
    if lines:
        yield _page_line(page.number, pages)
    yield from lines


def _fresh_lines(chunks: Sequence[Chunk]) -> Iterator[str]:
    """The lines of chunks that follow each other, without the headings that they repeat."""
    before: list[str] = []
    for chunk in chunks:
        lines = chunk.text.split("\n")
        pairs = zip(before, lines, strict=False)
        yield from lines[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) :]
        before = lines


def _broken(line: str) -> Iterator[str]:
    """A line as lines of a prompt, broken between words."""
    packed = ""
    for word in line.split():
        if packed and len(packed) + len(word) >= LINE_CHARACTERS:
            yield packed
            packed = word
        else:
            packed = f"{packed} {word}" if packed else word
    if packed:
        yield packed
