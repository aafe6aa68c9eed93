"""The caption grammar: what is said of a scene, and foils that differ from it in one thing."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from multimodal.training.shapes import COLOUR_NAMES, SHAPE_NAMES

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
RELATIONS = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
"""Relation to its opposite."""

TEMPLATES = (
    "{a}",
    "a picture of {a}",
    "a drawing of {a}",
    "an emoji of {a}",
    "an icon of {a}",
    "an image of {a}",
    "a cartoon of {a}",
    "a symbol of {a}",
    "this is {a}",
    "there is {a}",
)
SCENE_TEMPLATES = ("{a}", "{a}", "{a}", "a picture of {a}", "a drawing of {a}", "there is {a}")
COUNTABLE = re.compile(r"[a-z]+( (car|fruit|egg|dog|cream|cake|bean))?")
NO_ARTICLE = re.compile(
    r"^(flag of|key |person with|man with|woman with|input |.*\b(hair|shoes|chopsticks|glasses|scissors|"
    r"jeans|gloves|socks|shorts|people|men|women|bacon|rice|broccoli|money|music|fire|water|cheese|bread|salt|butter)$)"
)


class Layout(StrEnum):
    """How the things of a scene lie to each other."""

    ONE = "one"
    ANY = "any"
    LEFT = "left of"
    RIGHT = "right of"
    ABOVE = "above"
    BELOW = "below"
    MANY = "many"
    """Several of the same thing."""
    EMPTY = "empty"
    """A background and nothing else."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A coloured shape, or what an icon shows."""

    name: str
    colour: str | None = None
    """Of a shape."""
    concept: int | None = None
    """Of an icon."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is in a picture."""

    things: tuple[Thing, ...]
    layout: Layout = Layout.ONE
    count: int = 1
    background: str | None = None
    """Colour of a plain background; None: any."""


def with_article(noun: str) -> str:
    """ "an apple"; names that take no article stay as they are."""
    plural_or_mass = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    if plural_or_mass or NO_ARTICLE.match(noun) or noun[:1].isupper() or noun[:1].isdigit():
        return noun
    return ("an " if noun[:1] in "aeio" or noun.startswith(("umb", "ump")) else "a ") + noun


def plural(noun: str) -> str:
    """Of a countable English noun; regular, with the few irregular ones that icons have."""
    irregular = {
        "mouse": "mice",
        "wolf": "wolves",
        "sheep": "sheep",
        "fish": "fish",
        "leaf": "leaves",
        "deer": "deer",
    }
    if noun in irregular:
        return irregular[noun]
    if re.search(r"(s|x|ch|sh)$", noun):
        return noun + "es"
    return re.sub(r"(?<=[^aeiou])y$", "ie", noun) + "s"


def noun_of(thing: Thing) -> str:
    """ "red circle", "dog"."""
    return f"{thing.colour} {thing.name}" if thing.colour else thing.name


def phrase(scene: Scene) -> str:
    """The scene in words, without a template."""
    if scene.layout is Layout.EMPTY:
        return scene.things[0].name
    nouns = [noun_of(thing) for thing in scene.things]
    if scene.layout is Layout.MANY:
        return f"{NUMBERS[scene.count]} {plural(nouns[0])}"
    parts = [with_article(noun) for noun in nouns]
    if scene.layout in (Layout.ONE, Layout.ANY):
        said = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
    else:
        said = f"{parts[0]} {scene.layout} {parts[1]}"
    return f"{said} on a {scene.background} background" if scene.background else said


def caption(scene: Scene, rng: random.Random) -> str:
    """The scene in words, sometimes in a template."""
    template = "{a}" if scene.layout is Layout.EMPTY else rng.choice(SCENE_TEMPLATES)
    return template.format(a=phrase(scene))


def foils(scene: Scene, rng: random.Random, count: int, others: Sequence[Thing]) -> list[Scene]:
    """`count` different scenes that are not this one and differ in little. `others` are things to swap in."""
    found: list[Scene] = []
    said = {phrase(scene)}
    for _ in range(count * 20):
        foil = rng.choice(_CHANGES)(scene, rng, others)
        if foil is not None and phrase(foil) not in said and not _same(foil, scene):
            said.add(phrase(foil))
            found.append(foil)
        if len(found) == count:
            break
    return found


def _same(one: Scene, other: Scene) -> bool:
    """Whether two captions are true of the same pictures: "a left of b" and "b right of a"."""
    if one.layout is Layout.ANY and other.layout is Layout.ANY:
        return sorted(map(noun_of, one.things)) == sorted(map(noun_of, other.things))
    if one.layout in RELATIONS and other.layout == RELATIONS[one.layout]:
        return one.things == other.things[::-1]
    return False


def _recolour(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    if thing.colour is None:
        return None
    return _with(scene, index, replace(thing, colour=rng.choice(COLOUR_NAMES)))


def _reshape(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    index = rng.randrange(len(scene.things))
    thing = scene.things[index]
    if thing.colour is None:
        return None
    return _with(scene, index, replace(thing, name=rng.choice(SHAPE_NAMES)))


def _swap_thing(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    index = rng.randrange(len(scene.things))
    if scene.things[index].colour is not None or not others:
        return None
    return _with(scene, index, rng.choice(others))


def _turn_around(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    if scene.layout not in RELATIONS:
        return None
    return replace(scene, layout=Layout(rng.choice([one for one in RELATIONS if one != scene.layout])))


def _exchange_colours(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    if len(scene.things) < 2 or None in (scene.things[0].colour, scene.things[1].colour):
        return None
    first, second = scene.things[:2]
    changed = replace(first, colour=second.colour), replace(second, colour=first.colour)
    return replace(scene, things=changed + scene.things[2:])


def _recount(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    if scene.layout is not Layout.MANY:
        return None
    return replace(scene, count=rng.choice([n for n in range(2, 7) if n != scene.count]))


def _repaint(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    return replace(scene, background=rng.choice(COLOUR_NAMES)) if scene.background else None


def _drop(scene: Scene, rng: random.Random, others: Sequence[Thing]) -> Scene | None:
    if scene.layout is not Layout.ANY or len(scene.things) < 2:
        return None
    kept = scene.things[:-1]
    return replace(scene, things=kept, layout=Layout.ANY if len(kept) > 1 else Layout.ONE)


def _with(scene: Scene, index: int, thing: Thing) -> Scene:
    return replace(scene, things=(*scene.things[:index], thing, *scene.things[index + 1 :]))


_CHANGES = (_recolour, _reshape, _swap_thing, _turn_around, _exchange_colours, _recount, _repaint, _drop)
