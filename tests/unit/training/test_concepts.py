"""Pictures of all sets meet in concepts by code point and by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from multimodal.training.concepts import Concept, load, readable
from multimodal.training.sources import ICON_SETS, IconSet

TRAINING = ICON_SETS[0]
HELD_OUT = next(one for one in ICON_SETS if one.held_out)


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _icons(root: Path, icon_set: IconSet, *names: str) -> None:
    _write(root / icon_set.short / "icons.json", {"icons": {name: {"body": ""} for name in names}})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    entries = [
        {"label": "dog face", "hexcode": "1F436", "tags": ["pet"], "group": 3, "subgroup": 33},
        {"label": "light skin tone", "hexcode": "1F3FB", "group": 2, "subgroup": 32},
        {"label": "heart suit", "hexcode": "2665-FE0F", "tags": ["card"], "group": 8, "subgroup": 96},
    ]
    groups = [
        {"key": "component", "order": 2},
        {"key": "animals-nature", "order": 3},
        {"key": "symbols", "order": 8},
    ]
    subgroups = [{"key": "animal-mammal", "order": 33}, {"key": "geometric", "order": 96}]
    base = tmp_path / "emojibase-data" / "en"
    _write(base / "data.json", entries)
    _write(base / "messages.json", {"groups": groups, "subgroups": subgroups})
    _write(base / "shortcodes/cldr.json", {"1F436": "dog_face"})
    _write(base / "shortcodes/emojibase.json", {"1F436": ["puppy"], "2665": "hearts"})
    _write(base / "shortcodes/joypixels.json", {})
    _icons(tmp_path, TRAINING, "puppy", "hearts", "person-dark-skin-tone", "spoon-rest")
    _icons(tmp_path, HELD_OUT, "dog-face", "unheard-of")
    return tmp_path


def test_one_concept_gathers_the_pictures_of_all_sets(root: Path) -> None:
    concepts, icons = load(root, (TRAINING, HELD_OUT))
    dogs = [icon for icon in icons if concepts[icon.concept].label == "dog face"]
    assert [icon.name for icon in dogs] == ["puppy", "dog-face"]
    assert concepts[dogs[0].concept].names == ["puppy"]


def test_skin_tones_and_components_are_left_out(root: Path) -> None:
    concepts, icons = load(root, (TRAINING, HELD_OUT))
    assert not any(
        "tone" in one for one in [*(icon.name for icon in icons), *(one.label for one in concepts)]
    )


def test_names_that_no_emoji_has_make_concepts_but_not_in_held_out_sets(root: Path) -> None:
    labels = [concept.label for concept in load(root, (TRAINING, HELD_OUT))[0]]
    assert "spoon rest" in labels
    assert "unheard of" not in labels


@pytest.mark.parametrize(
    ("label", "said"),
    [("flag: France", "flag of France"), ("person: beard", "person with beard"), ("dog face", "dog face")],
)
def test_labels_are_made_readable(label: str, said: str) -> None:
    assert readable(label) == said


def test_what_must_not_be_mirrored_or_recoloured() -> None:
    assert not Concept("k", "red heart", group="smileys-emotion").recolours
    assert not Concept("k", "stop button", group="symbols").flips
    assert not Concept("k", "backhand index pointing right", group="people-body").flips
    dog = Concept("k", "dog", group="animals-nature")
    assert dog.flips
    assert dog.recolours
