"""Every kind of medium finds every kind of file that is about the same thing."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests import media
from tests.e2e.parts import clip, picture, sound
from tests.e2e.test_library import jpeg, upload, wait_processed
from tests.unseen import drawing

TARGETS = ("image", "audio", "video", "document")
QUERIES = ("text", *TARGETS, "file")

THINGS = {
    "helicopter": ("The helicopter lands on the roof of the hospital.", "Helicopters can hover in the air."),
    "owl": ("The owl sits in the tree at night.", "Owls are birds that hunt mice at night."),
}
WANTED, OTHER = THINGS


def film(thing: str) -> bytes:
    return media.slide_show([drawing(thing).resize((320, 320))])


def files(thing: str) -> dict[str, tuple[str, bytes]]:
    """One of each kind, none with the thing in its name."""
    said, written = THINGS[thing]
    return {
        "image": ("1.png", jpeg(drawing(thing))),
        "audio": ("2.wav", media.speech(said)),
        "video": ("3.mp4", film(thing)),
        "document": ("4.txt", written.encode()),
    }


@pytest.fixture(scope="module")
def ids(http: httpx.Client) -> Iterator[dict[tuple[str, str], str]]:
    """Of the files, by thing and kind."""
    found = {
        (thing, kind): upload(http, name, data, metadata='{"set": "pairs"}')
        for thing in THINGS
        for kind, (name, data) in files(thing).items()
    }
    wait_processed(http, *found.values())
    yield found
    for file_id in found.values():
        http.delete(f"/v1/files/{file_id}")


def query(kind: str, ids: dict[tuple[str, str], str]) -> object:
    """About the wanted thing, in other words and of another size than the files."""
    if kind == "text":
        return "a helicopter"
    if kind == "image":
        return picture(jpeg(drawing(WANTED), 300), "image/jpeg")
    if kind == "audio":
        return sound(media.speech("I would like to see a helicopter."))
    if kind == "video":
        return clip(film(WANTED))
    data = media.data_url("text/plain", b"A helicopter is an aircraft with a rotor.")
    if kind == "document":
        return {"type": "file", "file": {"file_data": data, "filename": "rotor.txt"}}
    return {"type": "file", "file": {"file_id": ids[WANTED, "document"]}}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", QUERIES)
def test_what_is_about_the_same_thing_is_found(
    http: httpx.Client, ids: dict[tuple[str, str], str], kind: str, target: str
) -> None:
    body = {
        "query": query(kind, ids),
        "search_modalities": [target],
        "filters": {"metadata": {"set": "pairs"}},
    }
    answer = http.post("/v1/search", json=body)
    results = answer.raise_for_status().json()["results"]
    names = {file_id: thing for (thing, _), file_id in ids.items()}
    if (kind, target) == ("file", "document"):
        # A file does not find itself: the other one is left.
        assert [names[one["file_id"]] for one in results] == [OTHER]
        return
    assert names[results[0]["file_id"]] == WANTED
