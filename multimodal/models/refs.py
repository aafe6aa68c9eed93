"""References to models, as they stand in a configuration, and the folders they lead to.

- `embedded:minilm`: listed in `catalog`, needs no hub
- `hf:org/name@revision`: a hub repository
- `file:/folder`: a folder that the operator looks after
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from multimodal.errors import ConfigError
from multimodal.models import catalog, manifest

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class EmbeddedRef:
    """A model of the catalog."""

    name: str

    def __str__(self) -> str:
        return f"embedded:{self.name}"

    @property
    def folder_name(self) -> str:
        """Name in the store."""
        return self.name


@dataclass(frozen=True, slots=True)
class HubRef:
    """A pinned revision of a hub repository."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"hf:{self.repository}@{self.revision}"

    @property
    def folder_name(self) -> str:
        """Name in the store: one level, distinct for distinct references."""
        return f"hf+{self.repository}@{self.revision}".replace("/", "+")


@dataclass(frozen=True, slots=True)
class FileRef:
    """A local folder."""

    folder: Path


StoredRef = EmbeddedRef | HubRef
"""A model that the store keeps."""


class ModelState(StrEnum):
    """Whether the store can serve a model."""

    READY = "ready"
    MISSING = "not pulled"
    OUTDATED = "outdated"
    """Another version or recipe than this release pins."""
    DAMAGED = "damaged"
    """A file is missing or has the wrong size."""


def parse(ref: str) -> StoredRef | FileRef:
    """Read a reference. Raises ConfigError with what to write instead."""
    scheme, _, rest = ref.partition(":")
    match scheme:
        case "embedded":
            return EmbeddedRef(catalog.find(rest).name)
        case "file" if rest:
            return FileRef(Path(rest).expanduser())
        case "hf":
            return _parse_hub(rest)
    raise ConfigError(
        f"{ref!r} is not a model reference. Write hf:org/name@revision, file:/folder or embedded:name."
    )


def _parse_hub(rest: str) -> HubRef:
    repository, at, revision = rest.partition("@")
    if not _REPOSITORY.fullmatch(repository):
        raise ConfigError(f"'hf:{rest}' does not name a repository. Write hf:org/name@revision.")
    if not at:
        raise ConfigError(
            f"'hf:{rest}' lacks a revision. Write hf:{repository}@<commit>: "
            "without one, the weights could change between two starts."
        )
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ConfigError(f"'hf:{rest}' has a bad revision. Write a commit, a tag or a branch after the @.")
    return HubRef(repository, revision)


def store_folder(home: Path) -> Path:
    """Where the store lies in MULTIMODAL_HOME."""
    return home / "models"


def state(ref: StoredRef, home: Path) -> ModelState:
    """Look at sizes only, so that every start can afford it; `ModelStore.verify` reads every byte."""
    folder = store_folder(home) / ref.folder_name
    if not folder.is_dir():
        return ModelState.MISSING
    found = manifest.read(folder)
    if found is None:
        return ModelState.DAMAGED
    if not _is_pinned(ref, found):
        return ModelState.OUTDATED
    return ModelState.READY if manifest.looks_complete(folder, found) else ModelState.DAMAGED


def resolve(ref: str, home: Path) -> Path:
    """The local folder of a model that is ready to load. Never touches the network.

    Raises ConfigError for a bad reference, and for a model that was not pulled, with the command to run.
    """
    parsed = parse(ref)
    if isinstance(parsed, FileRef):
        if not parsed.folder.is_dir():
            raise ConfigError(f"The folder {parsed.folder.name!r} of a file: model does not exist.")
        return parsed.folder
    current = state(parsed, home)
    if current is not ModelState.READY:
        raise ConfigError(f"The model {parsed} is {current}. Run `multimodal models pull {parsed}`.")
    return store_folder(home) / parsed.folder_name


def _is_pinned(ref: StoredRef, found: manifest.Manifest) -> bool:
    if isinstance(ref, HubRef):
        return found.source == str(ref)
    entry = catalog.find(ref.name)
    if (found.source, found.recipe) != (entry.source, entry.recipe):
        return False
    return entry.build is not None or {path: record.sha256 for path, record in found.files.items()} == {
        file.name: file.sha256 for file in entry.files
    }
