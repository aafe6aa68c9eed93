"""Files out of wheels: weights that are published as Python packages, taken without their dependencies."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import IO

from multimodal.errors import ConfigError
from multimodal.models.catalog import WheelFile

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 1 << 20
_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")
"""A line of `pip --progress-bar=raw`."""


def download_wheel(requirement: str, folder: Path, on_bytes: Callable[[int, int], None]) -> Path:
    """Let pip download `name==version` as a wheel, alone, into `folder`; the operator's pip settings apply.

    `on_bytes` gets (done, total). Raises ConfigError when there is no such wheel or the index is down.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input"]
    command += [
        "--disable-pip-version-check",
        "--progress-bar",
        _progress_style(),
        "-d",
        str(folder),
        requirement,
    ]
    status, output = _run(command, on_bytes)
    wheels = list(folder.glob("*.whl"))
    if status != 0 or len(wheels) != 1:
        for line in output:
            logger.warning("pip: %s", line)
        raise ConfigError(
            f"pip could not download {requirement} as a wheel. "
            "Check the network and the package index that pip is set up for."
        )
    return wheels[0]


def _progress_style() -> str:
    """pip tells its progress to programs since 24.1; older ones are silent until they are done."""
    major, minor = (int(part) for part in version("pip").split(".")[:2])
    return "raw" if (major, minor) >= (24, 1) else "off"


def extract(wheel: Path, files: Iterable[WheelFile], folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Take the listed files out of a wheel, nothing else, each checked against its size and SHA-256.

    Names of targets come from the list and never from the wheel. Raises ConfigError on any difference.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            for file in files:
                _extract_one(archive, file, folder / _plain_name(file), on_bytes)
    except zipfile.BadZipFile as error:
        raise ConfigError("The downloaded wheel is damaged. Pull again.") from error


def copy_bundled(files: Iterable[WheelFile], folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Copy files that come with this package, each checked against its size and SHA-256, or ConfigError."""
    data = resources.files("multimodal.models") / "data"
    for file in files:
        source = data.joinpath(*PurePosixPath(file.member).parts)
        if not source.is_file():
            raise ConfigError(f"{file.name} is missing in the installed package. Install it again.")
        with source.open("rb") as stream:
            _copy_checked(stream, folder / _plain_name(file), file, on_bytes)


def _run(command: Sequence[str], on_bytes: Callable[[int, int], None]) -> tuple[int, Sequence[str]]:
    """Exit status and last lines of pip. However this ends, pip has ended too."""
    last_lines: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                if match := _PROGRESS.match(line):
                    on_bytes(int(match[1]), int(match[2]))
                else:
                    last_lines.append(line.rstrip())
            return process.wait(), tuple(last_lines)
        finally:
            process.kill()


def _plain_name(file: WheelFile) -> str:
    if file.name in ("", ".", "..") or "\\" in file.name:
        raise ConfigError(f"{file.member!r} does not name a file.")
    return file.name


def _extract_one(
    archive: zipfile.ZipFile, file: WheelFile, target: Path, on_bytes: Callable[[int], None]
) -> None:
    try:
        member = archive.getinfo(file.member)
    except KeyError as error:
        raise ConfigError(f"The wheel does not hold {file.member}.") from error
    # The size is compared first, so that a forged archive cannot fill the disk.
    if member.file_size != file.size_bytes or stat.S_ISLNK(member.external_attr >> 16):
        raise ConfigError(f"{file.name} in the wheel is not the file that was pinned: its size differs.")
    with archive.open(member) as source:
        _copy_checked(source, target, file, on_bytes)


def _copy_checked(source: IO[bytes], target: Path, file: WheelFile, on_bytes: Callable[[int], None]) -> None:
    hasher = hashlib.sha256()
    with target.open("xb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            hasher.update(chunk)
            sink.write(chunk)
            on_bytes(len(chunk))
    if hasher.hexdigest() != file.sha256:
        raise ConfigError(f"{file.name} is not the file that was pinned: its checksum differs.")


def require_free_space(folder: Path, needed_bytes: int) -> None:
    """Raise ConfigError when the disk of `folder` has less room."""
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ConfigError(
            f"Too little disk space: the model needs {needed_bytes >> 20} MiB, {free >> 20} MiB are free. "
            "Make room or point MULTIMODAL_HOME at a larger disk."
        )
