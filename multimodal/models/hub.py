"""Snapshots of hub repositories. Only formats that cannot run code are taken."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from multimodal.errors import ConfigError
from multimodal.models.packages import require_free_space
from multimodal.models.progress import Progress, Step
from multimodal.models.refs import HubRef

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "model.bin")
"""`model.bin` is CTranslate2's name for its own format; a pickle of that name is refused afterwards."""
_POLL_S = 0.5
_LARGEST_CTRANSLATE2_VERSION = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the hub says of a snapshot that was downloaded."""

    commit: str
    sha256: Mapping[str, str]
    """Checksum of each large file (small ones the hub does not list), by path."""


def download(ref: HubRef, folder: Path, progress: Progress, endpoint: str | None = None) -> Snapshot:
    """Fill `folder` with the snapshot. What an interrupted call left there is resumed.

    `endpoint` None: huggingface_hub's own settings (HF_ENDPOINT, HF_TOKEN) apply. Raises ConfigError.
    """
    import httpx2  # the HTTP client of huggingface_hub, which lets its errors through
    from huggingface_hub import HfApi, errors

    try:
        return _download(HfApi(endpoint=endpoint), ref, folder, progress)
    except errors.GatedRepoError as error:
        raise ConfigError(f"{ref} is gated: accept its licence at the hub, then set HF_TOKEN.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ConfigError(
            f"The hub has no {ref}. Check name and revision; a private one needs HF_TOKEN."
        ) from error
    except (httpx2.HTTPError, OSError, errors.RevisionResolutionError, errors.XetDownloadError) as error:
        raise ConfigError(
            f"{ref} could not be downloaded from the hub. Check the network (HF_ENDPOINT names a mirror), "
            "or put the files into a folder and use file:/folder."
        ) from error


def _download(api: HfApi, ref: HubRef, folder: Path, progress: Progress) -> Snapshot:
    info = api.model_info(ref.repository, revision=ref.revision, files_metadata=True)
    wanted = {file.rfilename: file for file in info.siblings or () if _is_wanted(file.rfilename)}
    if not any(path.endswith((".safetensors", "model.bin")) for path in wanted):
        raise ConfigError(f"{ref} has no weights as safetensors or for CTranslate2; pickles are not loaded.")
    total = sum(file.size or 0 for file in wanted.values())
    commit = info.sha or ref.revision
    require_free_space(folder, total - _size(folder))
    with _watched(folder, lambda done: progress(Step.DOWNLOADING, min(done, total), total)):
        api.snapshot_download(ref.repository, revision=commit, local_dir=folder, allow_patterns=list(wanted))
    _tidy(folder, wanted)
    sums = {path: file.lfs.sha256 for path, file in wanted.items() if file.lfs is not None}
    return Snapshot(commit=commit, sha256=sums)


def _tidy(folder: Path, wanted: Collection[str]) -> None:
    """Drop the library's notes and files of another commit; refuse a pickle in disguise."""
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
        elif path.name == "model.bin":
            _refuse_pickle(path)


def _is_wanted(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return any(fnmatch(name, pattern) for pattern in PATTERNS)


def _refuse_pickle(weights: Path) -> None:
    """CTranslate2 begins with a small little-endian version; pickles and zip archives do not."""
    with weights.open("rb") as stream:
        version = int.from_bytes(stream.read(4), "little")
    if not 0 < version <= _LARGEST_CTRANSLATE2_VERSION:
        raise ConfigError("model.bin is not in CTranslate2's format; pickles are not loaded.")


def _size(folder: Path) -> int:
    sizes = 0
    for path in folder.rglob("*"):
        try:
            sizes += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # a finished part was renamed under our feet
    return sizes


@contextmanager
def _watched(folder: Path, report: Callable[[int], None]) -> Iterator[None]:
    """Report the folder's size while the body runs: needs nothing of the hub library's internals."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_S):
            report(_size(folder))

    watcher = threading.Thread(target=watch, name="download-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    report(_size(folder))
