"""The names of the models, as clients know them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from multimodal.config import AppArgs
from multimodal.errors import ModelNotFound

EMBEDDED_NAMES = {"minilm": "all-minilm-l6-v2", "whisper-tiny-en": "whisper-tiny.en"}
"""Names under which the models of the embedded profile are known elsewhere."""

TEXT_ALIAS = "text"
"""Conventional name of whatever embeds text."""

IMAGE_ALIAS = "image"
"""Conventional name of whatever embeds pictures, into the space of the texts."""

SPEECH_ALIAS = "whisper-1"
"""OpenAI's name of the model that transcribes."""

CHAT = "/v1/chat/completions"
EMBEDDINGS, CLASSIFY = "/v1/embeddings", "/v1/classify"
TRANSCRIPTIONS, TRANSCRIBE = "/v1/audio/transcriptions", "/v1/audio/transcribe"
ANALYZE = "/v1/video/analyze"
SEARCH = "/v1/search"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model of the API."""

    id: str
    endpoints: tuple[str, ...]
    modalities: tuple[str, ...]
    aliases: tuple[str, ...] = ()


class Catalogue:
    """The models that the endpoints serve. The generator is first."""

    def __init__(self, args: AppArgs) -> None:
        self.entries = (
            Entry(
                id=args.generator.served_name,
                endpoints=(CHAT, TRANSCRIBE, ANALYZE),
                modalities=("text", "image", "audio", "video", "document"),
            ),
            *_unified_space(args),
            Entry(
                id=_name_of(args.audio.model),
                endpoints=(TRANSCRIPTIONS,),
                modalities=("audio",),
                aliases=(SPEECH_ALIAS,),
            ),
        )

    def find(self, name: str, endpoint: str | None = None) -> Entry:
        """The model of that name (that serves the endpoint). Raises ModelNotFound, naming those there are."""
        fit = [entry for entry in self.entries if endpoint is None or endpoint in entry.endpoints]
        for entry in fit:
            if name == entry.id or name in entry.aliases:
                return entry
        known = ", ".join(entry.id for entry in fit)
        place = "here" if endpoint is None else f"at {endpoint}"
        raise ModelNotFound(f"There is no such model {place}. Use one of: {known}.", param="model")


def _unified_space(args: AppArgs) -> tuple[Entry, ...]:
    """The models whose vectors can be compared: whichever is named, each input goes to the one it is for."""
    served = (EMBEDDINGS, CLASSIFY)
    text = Entry(
        id=_name_of(args.text.model),
        endpoints=served,
        modalities=("text", "audio", "document"),
        aliases=(TEXT_ALIAS,),
    )
    if args.image.model is None or args.image.space == "own":
        return (replace(text, aliases=(TEXT_ALIAS, IMAGE_ALIAS)),)
    image = Entry(
        id=_name_of(args.image.model),
        endpoints=served,
        modalities=("image", "video"),
        aliases=(IMAGE_ALIAS,),
    )
    return text, image


def _name_of(reference: str) -> str:
    """A model reference without what only the operator should see: folders, revisions."""
    scheme, _, rest = reference.partition(":")
    if scheme == "file":
        return PurePosixPath(rest).name
    name = rest.partition("@")[0]
    return EMBEDDED_NAMES.get(name, name) if scheme == "embedded" else name
