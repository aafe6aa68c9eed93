"""Concepts: what the pictures of all sets show, with the words for it.

A concept is one emoji without skin tone, known by its code points. Pictures without code points are matched
by their names; those that no emoji has (OpenMoji's extras) become concepts of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, cast

from multimodal.training.fetch import CHARACTERS
from multimodal.training.kinds import KINDS
from multimodal.training.sources import EMOJIBASE, ICON_SETS, IconSet

SKIN_TONE = re.compile(r"1f3f[b-f]")
TONE_NAME = re.compile(r"-(light|medium-light|medium|medium-dark|dark)(-skin-tone)?(-|$)|-tone$|skin-tone")
COLOURED = re.compile(
    r"\b(red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y|cyan|colou?r|rainbow|gold|silver|blond)"
)
"""Names that speak of a colour: their pictures are never recoloured."""

NO_FLIP_GROUPS = frozenset({"symbols", "flags"})
NO_FLIP_SUBGROUPS = frozenset({"time", "award-medal", "place-map", "hand-single-finger"})
SKIPPED_GROUPS = frozenset({"component"})
WEIGHTS = {"country-flag": 0.35, "subdivision-flag": 0.5, "family": 0.35, "time": 0.6}
"""Share in training of subgroups with many pictures that look alike. Others have 1."""
GENDERED_WEIGHT = 0.6


class _Entry(TypedDict, total=False):
    label: str
    hexcode: str
    tags: list[str]
    group: int
    subgroup: int
    gender: int


class _Message(TypedDict):
    key: str
    order: int


@dataclass(slots=True)
class Concept:
    """One thing that pictures show."""

    key: str
    """Code points in lower-case hexadecimal with hyphens, without variation selectors; or `name:<slug>`."""
    label: str
    names: list[str] = field(default_factory=list)
    """Other names, the label not among them."""
    tags: list[str] = field(default_factory=list)
    group: str = ""
    subgroup: str = ""
    weight: float = 1.0

    @property
    def kinds(self) -> tuple[str, ...]:
        """Words for what kind of thing it is."""
        return KINDS.get(self.subgroup, ())

    @property
    def flips(self) -> bool:
        """Whether its mirror image shows the same."""
        return (
            self.group not in NO_FLIP_GROUPS
            and self.subgroup not in NO_FLIP_SUBGROUPS
            and not re.search(r"\b(left|right)", self.label)
        )

    @property
    def recolours(self) -> bool:
        """Whether it is the same thing in other colours."""
        return self.group != "flags" and not any(map(COLOURED.search, (self.label, *self.names)))


@dataclass(frozen=True, slots=True)
class Icon:
    """One picture of a set."""

    set_name: str
    name: str
    concept: int
    """Index into the list of concepts."""


def key_of(hexcode: str) -> str:
    """Code points without variation selectors, lower case."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


def slug(text: str) -> str:
    """A label as icon sets write it: lower case, hyphens, no punctuation."""
    plain = text.lower().replace("&", "and").replace("\u2019", "").replace("'", "")
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def words(name: str) -> str:
    """An icon's or shortcode's name as plain words."""
    return re.sub(r"[-_]+", " ", name).strip()


def readable(label: str) -> str:
    """An emoji label as one would say it: "flag: France" is "flag of France"."""
    head, colon, tail = label.partition(": ")
    if not colon:
        return label.replace("\u2019", "'")
    joiner = {"flag": "flag of", "keycap": "key"}.get(head, f"{head} with")
    if head in ("family", "kiss", "couple with heart"):
        joiner = f"{head} of"
    return f"{joiner} {tail}".replace("\u2019", "'")


def load(root: Path, sets: Sequence[IconSet] = ICON_SETS) -> tuple[list[Concept], list[Icon]]:
    """Concepts and pictures of the fetched packages below `root`, in a fixed order."""
    concepts, by_slug = _emojibase(root / EMOJIBASE.short)
    index = {concept.key: number for number, concept in enumerate(concepts)}
    for icon_set in sets:
        for code, name in _characters(root / icon_set.short).items():
            if key_of(code) in index:
                by_slug.setdefault(name, key_of(code))
    icons: list[Icon] = []
    for icon_set in sets:
        for name in _names(root / icon_set.short):
            if TONE_NAME.search(name) or "facing-right" in name:
                continue
            number = _find(name, icon_set, concepts, index, by_slug)
            if number is not None:
                icons.append(Icon(icon_set.short, name, number))
                if not icon_set.held_out:
                    _add_name(concepts[number], words(name))
    return concepts, icons


def _find(
    name: str,
    icon_set: IconSet,
    concepts: list[Concept],
    index: dict[str, int],
    by_slug: Mapping[str, str],
) -> int | None:
    """The concept of a picture. A name that no emoji has makes a new one, but not in held-out sets."""
    plain = re.sub(r"(?<=\D)\d$|-low$", "", name).replace("flag-for-flag-", "flag-")
    for candidate in (name, plain, plain.replace("flag-for-", "flag-")):
        if candidate in by_slug:
            return index.get(by_slug[candidate])
    key = f"name:{plain}"
    if key not in index:
        if icon_set.held_out:
            return None
        index[key] = len(concepts)
        group = "flags" if re.search(r"(^|-)flag(-|$)", plain) else ""
        concepts.append(Concept(key, words(plain), group=group, weight=0.35 if group else 0.5))
    return index[key]


def _add_name(concept: Concept, name: str) -> None:
    if slug(name) != slug(concept.label) and name not in concept.names:
        concept.names.append(name)


def _emojibase(folder: Path) -> tuple[list[Concept], dict[str, str]]:
    """Concepts of all emoji, and names to keys: of components too, so that they are not taken for new."""
    entries = cast("list[_Entry]", _read(folder / "en/data.json"))
    messages = cast("dict[str, list[_Message]]", _read(folder / "en/messages.json"))
    groups = {one["order"]: one["key"] for one in messages["groups"]}
    subgroups = {one["order"]: one["key"] for one in messages["subgroups"] if one["key"] != "food-sweet"}
    codes = _shortcodes(folder)
    concepts: list[Concept] = []
    by_slug: dict[str, str] = {}
    for entry in entries:
        key = key_of(entry["hexcode"])
        by_slug[slug(entry["label"])] = key
        group = groups.get(entry.get("group", -1), "component")
        if group in SKIPPED_GROUPS or "facing right" in entry["label"]:
            continue
        subgroup = subgroups.get(entry["subgroup"], "")
        weight = WEIGHTS.get(subgroup, GENDERED_WEIGHT if "gender" in entry else 1.0)
        concept = Concept(key, readable(entry["label"]), [], entry.get("tags", []), group, subgroup, weight)
        for code in codes.get(key, ()):
            _add_name(concept, words(code))
            by_slug.setdefault(code.replace("_", "-"), key)
        concepts.append(concept)
    return concepts, by_slug


def _shortcodes(folder: Path) -> dict[str, list[str]]:
    """Key to shortcodes, those of one or two letters left out."""
    found: dict[str, list[str]] = {}
    for source in ("cldr", "emojibase", "joypixels"):
        listed = cast("dict[str, str | list[str]]", _read(folder / f"en/shortcodes/{source}.json"))
        for hexcode, codes in listed.items():
            if SKIN_TONE.search(hexcode.lower()):
                continue
            for code in [codes] if isinstance(codes, str) else codes:
                if len(code) > 2 and not code.startswith("flag_"):
                    found.setdefault(key_of(hexcode), []).append(code)
    return found


def _characters(folder: Path) -> dict[str, str]:
    path = folder / CHARACTERS
    return cast("dict[str, str]", _read(path)) if path.is_file() else {}


def _names(folder: Path) -> Iterable[str]:
    return cast("dict[str, dict[str, object]]", _read(folder / "icons.json"))["icons"]


def _read(path: Path) -> object:
    return cast("object", json.loads(path.read_text(encoding="utf-8")))
