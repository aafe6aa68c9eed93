"""Features as the encoders give them, in few words."""

from collections.abc import Sequence

from multimodal.types import (
    ColourShare,
    ImageFeatures,
    ImageText,
    Scene,
    TextLine,
    Transcript,
    TranscriptSegment,
    TranscriptWord,
    VideoFeatures,
)

Box = tuple[float, float, float, float]


def text_at(*lines: tuple[str, Box]) -> ImageText:
    """Lines with their boxes."""
    return ImageText(lines=tuple(TextLine(text=text, confidence=0.9, box=box) for text, box in lines))


def text(*lines: str) -> ImageText:
    """Lines, one below the other."""
    step = 1 / max(len(lines), 1)
    return text_at(*((line, (0.1, i * step, 0.9, (i + 0.8) * step)) for i, line in enumerate(lines)))


def picture(*colours: tuple[str, float], width: int = 640, height: int = 320) -> ImageFeatures:
    """A picture with shares of colours."""
    shares = tuple(ColourShare(name=name, share=share) for name, share in colours)
    return ImageFeatures(sha256="0", width=width, height=height, colours=shares, vector=None)


def segment(said: str, start_s: float, end_s: float, *, timed_words: bool = True) -> TranscriptSegment:
    """Words spread evenly."""
    words = said.split() if timed_words else []
    step_s = (end_s - start_s) / max(len(words), 1)
    return TranscriptSegment(
        text=f" {said}",
        start_s=start_s,
        end_s=end_s,
        words=tuple(
            TranscriptWord(
                text=f" {word}",
                start_s=start_s + i * step_s,
                end_s=start_s + (i + 1) * step_s,
                probability=0.9,
            )
            for i, word in enumerate(words)
        ),
    )


def transcript(*segments: TranscriptSegment, duration_s: float = 10.0) -> Transcript:
    """English."""
    return Transcript(segments=segments, language="en", duration_s=duration_s)


def scene(start_s: float, end_s: float, *lines: str, colours: Sequence[tuple[str, float]] = ()) -> Scene:
    """A scene with lines of text on the screen."""
    return Scene(start_s=start_s, end_s=end_s, times_s=(start_s,), image=picture(*colours), text=text(*lines))


def video(*scenes: Scene, speech: Transcript | None = None, duration_s: float = 10.0) -> VideoFeatures:
    """Without `speech`, the file has no sound track."""
    return VideoFeatures(
        sha256="0", duration_s=duration_s, width=640, height=360, scenes=scenes, transcript=speech
    )
