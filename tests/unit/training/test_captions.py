"""What is said of a scene is true of it, and foils are not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.training.captions import Layout, Scene, Thing, caption, foils, phrase, plural, with_article
from multimodal.training.concepts import Concept
from multimodal.training.scenes import SceneMaker

RED_CIRCLE, BLUE_SQUARE = Thing("circle", "red"), Thing("square", "blue")
MAKER = SceneMaker(
    [Concept(f"c{n}", label, group="objects") for n, label in enumerate(["axe", "bed", "cup"])], range(3)
)


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (Scene((RED_CIRCLE,)), "a red circle"),
        (Scene((Thing("star", "orange"),)), "an orange star"),
        (Scene((RED_CIRCLE, BLUE_SQUARE), Layout.LEFT), "a red circle left of a blue square"),
        (Scene((RED_CIRCLE, BLUE_SQUARE), Layout.ANY), "a red circle and a blue square"),
        (
            Scene((RED_CIRCLE, BLUE_SQUARE, Thing("dog", concept=1)), Layout.ANY),
            "a red circle, a blue square and a dog",
        ),
        (Scene((BLUE_SQUARE,), Layout.MANY, 3), "three blue squares"),
        (Scene((Thing("apple", concept=2),), background="green"), "an apple on a green background"),
        (Scene((Thing("random noise"),), Layout.EMPTY), "random noise"),
    ],
)
def test_a_scene_is_said_in_plain_words(scene: Scene, said: str) -> None:
    assert phrase(scene) == said


@pytest.mark.parametrize(
    ("noun", "many"),
    [("cross", "crosses"), ("cherry", "cherries"), ("mouse", "mice"), ("dog", "dogs"), ("key", "keys")],
)
def test_plurals(noun: str, many: str) -> None:
    assert plural(noun) == many


@pytest.mark.parametrize(
    ("noun", "said"),
    [
        ("apple", "an apple"),
        ("dog", "a dog"),
        ("glasses", "glasses"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
    ],
)
def test_articles(noun: str, said: str) -> None:
    assert with_article(noun) == said


@given(st.integers(0, 10**6))
def test_foils_differ_from_the_caption_and_from_each_other(seed: int) -> None:
    rng = random.Random(seed)
    scene = MAKER.draw(rng)
    wrong = [phrase(foil) for foil in foils(scene, rng, 4, MAKER.icons)]
    assert len({*wrong, phrase(scene)}) == len(wrong) + 1


@given(st.integers(0, 10**6))
def test_a_foil_is_never_the_same_fact_in_other_words(seed: int) -> None:
    scene = Scene((RED_CIRCLE, BLUE_SQUARE), Layout.LEFT)
    wrong = [phrase(foil) for foil in foils(scene, random.Random(seed), 4, [])]
    assert "a blue square right of a red circle" not in wrong


@given(st.integers(0, 10**6))
def test_captions_hold_the_phrase_and_are_the_same_for_the_same_seed(seed: int) -> None:
    scene = MAKER.draw(random.Random(seed))
    assert phrase(scene) in caption(scene, random.Random(seed))
    assert caption(scene, random.Random(seed)) == caption(scene, random.Random(seed))
