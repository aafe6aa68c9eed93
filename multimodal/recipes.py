"""What decides, beside its bytes, what is made of a medium: part of the key of every feature.

Numbers here named `*_VERSION` are raised when our own code makes something else of the same medium.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path, PurePosixPath

from multimodal.config import AppArgs
from multimodal.identity import Feature, Recipe
from multimodal.models import manifest, refs
from multimodal.models.refs import FileRef, ModelState
from multimodal.types import MediaKind, MediaSource, SpeechHints

DECODER_VERSION = 3
IMAGE_VERSION = 2
OCR_VERSION = 2
SPEECH_VERSION = 2
VIDEO_VERSION = 1
DOCUMENT_VERSION = 1
VISUAL_VERSION = 1

FINGERPRINT_DIGITS = 32


class Recipes:
    """Of one configuration. Models are looked at when they are first needed."""

    def __init__(self, args: AppArgs, home: Path) -> None:
        self._args = args
        self._home = home

    def decoded(self, source: MediaSource) -> Recipe:
        """How MediaLoader decodes it."""
        loader = self._args.loader
        common: dict[str, str | int | None] = {"decoder": DECODER_VERSION, "kind": source.kind}
        match source.kind:
            case MediaKind.IMAGE:
                return common | {"side_px": loader.image_max_side_px}
            case MediaKind.VIDEO:
                return common | {
                    "side_px": loader.frame_max_side_px,
                    "sampling": source.frame_sampling,
                    "frames": source.max_frames or loader.max_frames,
                }
            case MediaKind.DOCUMENT:
                return common | {
                    "first_page": source.first_page,
                    "pages": loader.max_pages,
                    "page_images": loader.max_page_images,
                    "preview_px": loader.page_preview_px,
                    "side_px": loader.page_max_side_px,
                    # Tells formats of text apart.
                    "suffix": PurePosixPath(source.filename or "").suffix.lower(),
                }
        return common

    def feature(
        self,
        feature: Feature,
        source: MediaSource,
        hints: SpeechHints | None = None,
        moments_s: Sequence[float] = (),
    ) -> Recipe:
        """How a feature of a medium is made."""
        made = self._made(feature, source, hints or SpeechHints(), moments_s)
        return {"decoded": self.decoded(source), **made}

    def transcript(self, hints: SpeechHints) -> Recipe:
        """How speech is made into text, whatever it was decoded from."""
        audio = self._args.audio
        return {
            "version": SPEECH_VERSION,
            "model": self._audio_model,
            "beams": audio.beam_size,
            "numbers": audio.compute_type,
            "language": hints.language,
            "prompt": hints.prompt,
            "temperature": hints.temperature,
        }

    def _made(
        self, feature: Feature, source: MediaSource, hints: SpeechHints, moments_s: Sequence[float]
    ) -> dict[str, Recipe]:
        match feature:
            case Feature.IMAGE:
                return {"image": self._image}
            case Feature.OCR:
                return {"ocr": self._ocr}
            case Feature.TRANSCRIPT:
                return {"transcript": self.transcript(hints)}
            case Feature.VIDEO:
                scenes = {"version": VIDEO_VERSION, "difference": self._args.video.scene_difference}
                heard = self.transcript(hints)
                return {"video": scenes, "image": self._image, "ocr": self._ocr, "transcript": heard}
            case Feature.DOCUMENT:
                chunks = {"version": DOCUMENT_VERSION, "words": self._args.document.chunk_words}
                return {"document": chunks, "image": self._image, "ocr": self._ocr}
            case Feature.VISUAL:
                return self._visual(source, moments_s)
            case Feature.DECODED:
                return {}

    def _visual(self, source: MediaSource, moments_s: Sequence[float]) -> dict[str, Recipe]:
        vision = self._args.vision
        if vision is None:
            return {}
        made: dict[str, Recipe] = {
            "visual": {
                "version": VISUAL_VERSION,
                "source": vision.source,
                "generator": self._generator_model,
                "dtype": vision.dtype,
                "pixels": vision.max_pixels,
                "moments_s": " ".join(str(moment_s) for moment_s in moments_s),
            }
        }
        if vision.source == "connector":
            made["image"] = self._image
            if source.kind is MediaKind.VIDEO:
                made["video"] = {"version": VIDEO_VERSION, "difference": self._args.video.scene_difference}
        return made

    @cached_property
    def _image(self) -> Recipe:
        image = self._args.image
        made = {"version": IMAGE_VERSION, "model": image.model and fingerprint(image.model, self._home)}
        # What was made in float32 before there was a choice stays known.
        return made if image.compute_type == "float32" else made | {"numbers": image.compute_type}

    @cached_property
    def _ocr(self) -> Recipe:
        reader = self._args.reader
        return {
            "version": OCR_VERSION,
            "engine": version("rapidocr"),
            "side_px": reader.max_side_px,
            "confidence": reader.min_confidence,
        }

    @cached_property
    def _audio_model(self) -> str:
        return fingerprint(self._args.audio.model, self._home)

    @cached_property
    def _generator_model(self) -> str:
        return fingerprint(self._args.generator.model, self._home)


def fingerprint(ref: str, home: Path) -> str:
    """Tells the weights behind a reference from others: by the checksums in their manifest.

    A folder that the operator looks after is told apart by the names, sizes and times of its files; a model
    that is not on this machine by its reference, which names a version.
    """
    parsed = refs.parse(ref)
    if isinstance(parsed, FileRef):
        return _digest(_listed(parsed.folder))
    if refs.state(parsed, home) is ModelState.READY:
        found = manifest.read(refs.store_folder(home) / parsed.folder_name)
        if found is not None:
            return _digest({path: record.sha256 for path, record in found.files.items()})
    return str(parsed)


def _listed(folder: Path) -> Mapping[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): f"{(stat := path.stat()).st_size} {stat.st_mtime_ns}"
        for path in files
    }


def _digest(files: Mapping[str, str]) -> str:
    lines = "".join(f"{path}\0{files[path]}\n" for path in sorted(files))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()[:FINGERPRINT_DIGITS]
