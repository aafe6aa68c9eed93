"""What each deployment loads in its replica. Tests pass their own `Backends` to build the graph with fakes.

Factories run in the replica, after Ray has placed it: heavy imports happen only where they are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from multimodal.config import AppArgs, home, state
from multimodal.encode_once import EncodeOnce
from multimodal.errors import ConfigError
from multimodal.library.files import Library
from multimodal.retrieval.store import SegmentStore
from multimodal.stages import (
    AudioBackend,
    GeneratorBackend,
    ImageBackend,
    LoaderBackend,
    ReaderBackend,
    TextBackend,
    VisionBackend,
)


def make_library(args: AppArgs) -> Library:
    """Uploaded files: their bytes and what is known of them."""
    from multimodal.library.shelf import open_library

    return open_library(args, state())


def make_loader(args: AppArgs) -> LoaderBackend:
    """Decoder processes."""
    from multimodal.media.pool import DecoderPool
    from multimodal.media.stored import StoredLoader
    from multimodal.storage import ContentStore

    pool = DecoderPool(args.limits, args.loader, stored=args.library.limits)
    return StoredLoader(pool, ContentStore(args.library.storage_url, state()).read_all)


def make_store(args: AppArgs) -> SegmentStore:
    """The index of segments."""
    from multimodal.library.identity import library_id
    from multimodal.retrieval import opening

    sizes = opening.vector_sizes(args, home())
    return opening.make_store(args, state(), sizes, library_id(args.library, state()))


def make_once(args: AppArgs) -> EncodeOnce:
    """What is known of media, in a process that has things made of them."""
    from multimodal.encode_once import open_once

    return open_once(args, state(), home())


def make_keeping_once(args: AppArgs) -> EncodeOnce:
    """The same, and what is made of uploaded files is kept with them."""
    from multimodal.encode_once import open_once

    return open_once(args, state(), home(), keeps_beside=True)


def make_text(args: AppArgs) -> TextBackend:
    """A sentence model."""
    from multimodal.encoders.text import OpenClipTextEncoder
    from multimodal.models.refs import resolve

    return OpenClipTextEncoder(resolve(args.text.model, home()), args.text)


def make_image(args: AppArgs) -> ImageBackend:
    """An image tower, or size and colours alone where the profile has none."""
    from multimodal.encoders.image import ColourEncoder, OpenClipImageEncoder
    from multimodal.models.refs import resolve

    if args.image.model is None:
        return ColourEncoder()
    folder = resolve(args.image.model, home())
    return OpenClipImageEncoder(folder, args.image.device, args.image.compute_type)


def make_audio(args: AppArgs) -> AudioBackend:
    """Whisper."""
    from multimodal.encoders.audio import WhisperBackend
    from multimodal.models.refs import resolve

    return WhisperBackend(resolve(args.audio.model, home()), args.audio)


def make_reader(args: AppArgs) -> ReaderBackend:
    """OCR."""
    from multimodal.encoders.reader import RapidOcrReader

    return RapidOcrReader(args.reader)


def make_vision(args: AppArgs) -> VisionBackend:
    """The generator's own tower, or a connector between the image tower and its word embeddings."""
    from multimodal.encoders.concepts import load_bank
    from multimodal.encoders.connector import ConceptConnector, SafetensorsWords
    from multimodal.models.refs import resolve

    if args.vision and args.vision.source == "tower":
        from multimodal.encoders.towers.opening import open_tower

        return open_tower(resolve(args.generator.model, home()), args.vision)
    if args.image.model is None:
        raise ConfigError("VisionTower needs an image tower: set image.model, or vision to null.")
    bank = load_bank(resolve(args.image.model, home()))
    return ConceptConnector(bank, SafetensorsWords(resolve(args.generator.model, home())))


def make_generator(args: AppArgs) -> GeneratorBackend:
    """The vLLM engine."""
    from multimodal.generation.engine import VllmEngine
    from multimodal.models.refs import resolve

    return VllmEngine(resolve(args.generator.model, home()), args.generator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """One factory for each deployment that has a model or processes of its own."""

    library: Callable[[AppArgs], Library] = make_library
    store: Callable[[AppArgs], SegmentStore] = make_store
    once: Callable[[AppArgs], EncodeOnce] = make_once
    keeping_once: Callable[[AppArgs], EncodeOnce] = make_keeping_once
    loader: Callable[[AppArgs], LoaderBackend] = make_loader
    text: Callable[[AppArgs], TextBackend] = make_text
    image: Callable[[AppArgs], ImageBackend] = make_image
    audio: Callable[[AppArgs], AudioBackend] = make_audio
    reader: Callable[[AppArgs], ReaderBackend] = make_reader
    vision: Callable[[AppArgs], VisionBackend] = make_vision
    generator: Callable[[AppArgs], GeneratorBackend] = make_generator
