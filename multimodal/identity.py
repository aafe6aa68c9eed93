"""One identity for everything that is made of a medium, from its bytes to vLLM's prefix cache.

    bytes --SHA-256--> content
    content, tenant secret --HMAC--> affinity: where requests about these bytes meet
    content, what is made of it and how, tenant secret --HMAC--> key: what it is stored under

Reasons:

- The content hash is that of the bytes as they came: equal uploads are one content, whatever they are called.
- What is made of a content also depends on how it was decoded, on the encoder and its version, and on the
  settings that change its result: all of that is the *recipe*, and stands in the key. So nothing in a cache
  ever has to be thrown away because a model or a setting changed: it is not found any more, and expires.
- Keys are HMACs with a secret of the tenant, which is derived from the server's. A tenant cannot learn from
  timing whether another one has sent the same picture, since it is another key; and nobody can name a key, as
  no client has the secret, and no key is ever taken from a request.
- Parts that enter an HMAC are JSON with sorted names, so that no two different recipes can read the same.

Derived from it: the keys of both cache tiers and of features kept with uploaded files, the replica that
encodes and the one that generates (affinity), vLLM's hash of a multimodal item (`multi_modal_uuids`), its
`cache_salt`, and the ids of segments and of their points in the index (`segment_id`,
`retrieval.points.point_id`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias
from uuid import UUID, uuid4, uuid5

from multimodal.errors import ConfigError
from multimodal.types import MediaKind

SECRET_ENV = "MULTIMODAL_SECRET"
"""Servers that share a Redis share this secret."""
SECRET_FILE = Path("library", "secret")
"""In MULTIMODAL_STATE, where the environment has none."""
SECRET_BYTES = 32

_SEGMENTS = UUID("6f1d7a52-2f0c-4c4e-9a5b-9f1f3f0e6f0b")


class Feature(StrEnum):
    """What can be made of a medium and is worth keeping."""

    IMAGE = "image"
    """ImageFeatures: retrieval vector, size and colours."""
    OCR = "ocr"
    """ImageText."""
    TRANSCRIPT = "transcript"
    VIDEO = "video"
    """VideoFeatures."""
    DOCUMENT = "document"
    """DocumentFeatures."""
    VISUAL = "visual"
    """GeneratorEmbedding."""
    DECODED = "decoded"
    """The medium itself: only ever shared in flight."""


Parameter: TypeAlias = str | int | float | bool | None
Recipe: TypeAlias = Mapping[str, "Parameter | Recipe"]
"""All that decides what is made of a content, beside its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureKey:
    """What a feature of one content of one tenant is stored under."""

    feature: Feature
    modality: MediaKind
    """Of the content."""
    digest: str
    """64 hexadecimal digits."""
    affinity: str
    """Same for all features of a content: 32 hexadecimal digits."""


class ContentIdentity:
    """One content of one tenant."""

    def __init__(self, tenant_secret: bytes, sha256: str, modality: MediaKind) -> None:
        self._secret = tenant_secret
        self._modality = modality
        self.sha256 = sha256
        self.affinity = _hmac(tenant_secret, {"content": sha256})[:32]

    def key(self, feature: Feature, recipe: Recipe) -> FeatureKey:
        """The key of one feature, made in one way."""
        digest = _hmac(self._secret, {"content": self.sha256, "feature": feature, "recipe": recipe})
        return FeatureKey(feature=feature, modality=self._modality, digest=digest, affinity=self.affinity)


class Identities:
    """Makes keys with the server's secret."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def content(self, tenant: str, sha256: str, modality: MediaKind) -> ContentIdentity:
        """The identity of some bytes of a tenant."""
        return ContentIdentity(self._of(tenant), sha256, modality)

    def conversation(self, tenant: str, beginning: str) -> str:
        """Affinity of a conversation without media, by how it begins: 32 hexadecimal digits."""
        return _hmac(self._of(tenant), {"conversation": beginning})[:32]

    def seal_key(self) -> bytes:
        """What stored values are authenticated with: 32 bytes."""
        return hmac.digest(self._secret, b"seal", "sha256")

    def _of(self, tenant: str) -> bytes:
        return hmac.digest(self._secret, b"tenant\0" + tenant.encode("utf-8", "surrogatepass"), "sha256")


def segment_id(file_id: str, sha256: str, ordinal: int) -> str:
    """The id of a segment of an uploaded file: a UUID. Files of the same bytes have their own."""
    return str(uuid5(_SEGMENTS, f"{file_id}/{sha256}/{ordinal}"))


def sha256_of(data: bytes) -> str:
    """The content hash, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def server_secret(state: Path) -> bytes:
    """MULTIMODAL_SECRET where it is set; else random bytes that stay in MULTIMODAL_STATE, for this user only.

    Raises ConfigError for a secret that is too short to be one, and where none can be read or kept.
    """
    given = os.environ.get(SECRET_ENV)
    if given is not None:
        if len(given) < SECRET_BYTES:
            raise ConfigError(
                f"{SECRET_ENV} must have {SECRET_BYTES} characters at least: `openssl rand -hex 32`."
            )
        return given.encode("utf-8", "surrogateescape")
    try:
        kept = _kept_secret(state / SECRET_FILE)
    except OSError as error:
        raise ConfigError(
            f"MULTIMODAL_STATE cannot keep the server's secret ({error.strerror}): make {SECRET_FILE} in it "
            f"readable and its folder writable, or set {SECRET_ENV}."
        ) from error
    if len(kept) < SECRET_BYTES:  # keys made with an empty one could be made by anybody
        raise ConfigError(f"{SECRET_FILE} in MULTIMODAL_STATE is damaged. Delete it, and another is made.")
    return kept


def _kept_secret(path: Path) -> bytes:
    """Made where there is none. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        partial = path.with_name(f"secret-{uuid4().hex}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave an empty secret
        with suppress(FileExistsError):  # another process was faster: its secret counts
            os.link(partial, path)
        partial.unlink()
    return path.read_bytes()


def _hmac(secret: bytes, parts: Mapping[str, object]) -> str:
    message = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hmac.new(secret, message.encode("ascii"), "sha256").hexdigest()
