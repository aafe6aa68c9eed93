"""Files in, segments found, answers that cite them: the real server, real models, real media."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
import openai
import pytest
from PIL import Image, ImageDraw, ImageFont

from tests import documents, media
from tests.e2e.conftest import MODEL
from tests.e2e.parts import picture, sound, user, words
from tests.unseen import drawing

PROCESSED_S = 180.0


@dataclass(frozen=True)
class Shelf:
    """Uploaded files by a short name."""

    ids: Mapping[str, str]

    def name(self, file_id: str) -> str:
        return next((name for name, one in self.ids.items() if one == file_id), "another file")


def jpeg(pixels: Image.Image, side: int = 512) -> bytes:
    return media.encode(pixels.resize((side, side)), "jpeg")


def slide(text: str) -> Image.Image:
    pixels = Image.new("RGB", (960, 540), "white")
    ImageDraw.Draw(pixels).text((60, 200), text, "black", font=ImageFont.load_default(64))
    return pixels


def contents() -> dict[str, tuple[str, bytes]]:
    """File name and bytes by short name: nothing says the same as another."""
    pages = ("Minutes of the board", "The rent of the warehouse goes up to 4200 euros in October.")
    return {
        "owl": ("IMG_0001.png", jpeg(drawing("owl"))),
        "sunflower": ("IMG_0002.png", jpeg(drawing("sunflower"))),
        "bill": ("receipt.png", media.encode(slide("INVOICE INV-2024-0042"), "png")),
        "talk": ("standup.wav", media.speech("The customers are leaving because the price is too high.")),
        "clip": (
            "demo.mp4",
            media.slide_show([drawing("helicopter").resize((320, 320)), slide("ROADMAP").resize((320, 320))]),
        ),
        "notes": ("wifi.md", b"# Guests\n\nThe wifi password of the guest network is bluebird 42.\n"),
        "minutes": ("minutes.docx", documents.docx(pages)),
    }


def upload(http: httpx.Client, name: str, data: bytes, **fields: str) -> str:
    answer = http.post("/v1/files", files={"file": (name, data)}, data={"purpose": "user_data", **fields})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def wait_processed(http: httpx.Client, *file_ids: str) -> list[dict[str, object]]:
    end = time.monotonic() + PROCESSED_S
    files: list[dict[str, object]] = []
    for file_id in file_ids:
        while True:
            files_now = http.get(f"/v1/files/{file_id}").raise_for_status().json()
            if files_now["status"] not in ("uploaded", "processing"):
                break
            assert time.monotonic() < end, files_now
            time.sleep(0.2)
        assert files_now["status"] == "processed", files_now
        files.append(files_now)
    return files


@pytest.fixture(scope="module")
def shelf(http: httpx.Client) -> Iterator[Shelf]:
    ids = {
        short: upload(http, name, data, metadata=f'{{"name": "{short}"}}')
        for short, (name, data) in contents().items()
    }
    wait_processed(http, *ids.values())
    yield Shelf(ids)
    for file_id in ids.values():
        http.delete(f"/v1/files/{file_id}")


def search(http: httpx.Client, query: object, **fields: object) -> list[dict[str, object]]:
    answer = http.post("/v1/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def best(http: httpx.Client, shelf: Shelf, query: object, **fields: object) -> str:
    return shelf.name(str(search(http, query, **fields)[0]["file_id"]))


# --- files -------------------------------------------------------------------------------------


def test_openais_client_keeps_and_reads_files(client: openai.OpenAI, http: httpx.Client) -> None:
    data = b"The quick brown fox.\n" * 1000
    file = client.files.create(file=("fox.txt", io.BytesIO(data)), purpose="user_data")
    assert (file.bytes, file.filename, file.purpose) == (len(data), "fox.txt", "user_data")
    assert file.id in [one.id for one in client.files.list(limit=2)]
    assert client.files.content(file.id).read() == data
    part = http.get(f"/v1/files/{file.id}/content", headers={"range": "bytes=4-8"})
    assert (part.status_code, part.content) == (206, b"quick")
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError) as error:
        client.files.retrieve(file.id)
    assert error.value.code == "file_not_found"


def test_the_same_bytes_are_named_at_once_and_encoded_once(http: httpx.Client, shelf: Shelf) -> None:
    before = encoded_pictures(http)
    name, data = contents()["owl"]
    again = http.post("/v1/files", files={"file": (f"copy of {name}", data)}, data={"purpose": "x"}).json()
    assert [one["file_id"] for one in again["duplicates"] if one["exact"]] == [shelf.ids["owl"]]
    (processed,) = wait_processed(http, again["id"])
    assert processed["segments"] == 1
    assert encoded_pictures(http) == before
    found = search(http, "an owl", top_k=2, search_modalities=["image"])
    assert {one["file_id"] for one in found} == {shelf.ids["owl"], again["id"]}
    folded = search(http, "an owl", top_k=1, search_modalities=["image"], dedupe=True)
    assert len(folded[0]["duplicates"]) == 1  # type: ignore[arg-type]
    http.delete(f"/v1/files/{again['id']}")


def encoded_pictures(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    name = "multimodal_encoded_items_total{"
    found = [line for line in lines if line.startswith(name) and 'encoder="ImageEncoder"' in line]
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


def test_a_picture_that_looks_like_another_is_named_on_upload(http: httpx.Client, shelf: Shelf) -> None:
    smaller = jpeg(drawing("sunflower"), side=200)
    answer = http.post("/v1/files", files={"file": ("small.jpg", smaller)}, data={"purpose": "x"}).json()
    near = [one for one in answer["duplicates"] if not one["exact"]]
    assert [one["file_id"] for one in near] == [shelf.ids["sunflower"]]
    assert near[0]["similarity"] > 0.9
    http.delete(f"/v1/files/{answer['id']}")


def test_a_file_that_cannot_be_understood_says_why_and_can_be_tried_again(http: httpx.Client) -> None:
    broken = upload(http, "broken.png", media.truncated(media.plain("red")))
    end = time.monotonic() + PROCESSED_S
    while (file := http.get(f"/v1/files/{broken}").json())["status"] != "error":
        assert time.monotonic() < end, file
        time.sleep(0.2)
    assert file["error"]["code"] == "invalid_media"
    assert file["status_details"]
    assert http.post(f"/v1/files/{broken}/retry").json()["status"] == "uploaded"
    assert http.delete(f"/v1/files/{broken}").json()["deleted"] is True


# --- search ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("a bird with large eyes", "owl"),
        ("a yellow flower", "sunflower"),
        ("INV-2024-0042", "bill"),
        ("why do clients quit?", "talk"),
        ("something that flies", "clip"),
        ("how do guests get on the network?", "notes"),
        ("what does the storage building cost?", "minutes"),
    ],
)
def test_words_find_every_kind_of_file(http: httpx.Client, shelf: Shelf, query: str, wanted: str) -> None:
    assert best(http, shelf, {"type": "text", "content": query}) == wanted


def as_query(data: bytes, kind: str) -> dict[str, object]:
    return dict(picture(data, "image/jpeg")) if kind == "image" else dict(sound(data))


@pytest.mark.parametrize(
    ("query", "modalities", "wanted"),
    [
        (lambda: as_query(jpeg(drawing("owl"), 300), "image"), ["image"], "owl"),
        (lambda: as_query(jpeg(drawing("helicopter"), 300), "image"), ["video"], "clip"),
        (
            lambda: as_query(media.speech("I am looking for a yellow flower."), "audio"),
            ["image"],
            "sunflower",
        ),
        (lambda: as_query(media.speech("What is the password of the network?"), "audio"), None, "notes"),
        (lambda: as_query(media.speech("A helicopter in the air."), "audio"), ["video"], "clip"),
        (lambda: as_query(media.speech("Our clients find it too expensive."), "audio"), ["audio"], "talk"),
        (
            lambda: {
                "type": "video_url",
                "video_url": {
                    "url": media.data_url(
                        "video/mp4", media.slide_show([drawing("sunflower").resize((320, 320))])
                    )
                },
            },
            ["image"],
            "sunflower",
        ),
    ],
)
def test_every_kind_of_medium_finds_every_kind_of_file(
    http: httpx.Client, shelf: Shelf, query: object, modalities: list[str] | None, wanted: str
) -> None:
    body = query() if callable(query) else query
    fields = {} if modalities is None else {"search_modalities": modalities}
    assert best(http, shelf, body, **fields) == wanted


def test_a_picture_finds_what_is_written_about_its_subject(http: httpx.Client, shelf: Shelf) -> None:
    about = upload(http, "lesson.txt", b"An owl is a bird that hunts mice at night.")
    wait_processed(http, about)
    found = search(http, as_query(jpeg(drawing("owl")), "image"), search_modalities=["document"])
    assert found[0]["file_id"] == about
    http.delete(f"/v1/files/{about}")


def test_a_file_is_a_query_that_does_not_find_itself(http: httpx.Client, shelf: Shelf) -> None:
    query = {"type": "file", "file": {"file_id": shelf.ids["owl"]}}
    found = search(http, query)
    assert shelf.ids["owl"] not in [one["file_id"] for one in found]
    unknown = http.post("/v1/search", json={"query": {"type": "file", "file": {"file_id": "file-0"}}})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "file_not_found")


def test_a_mixture_leans_to_the_part_with_the_larger_weight(http: httpx.Client, shelf: Shelf) -> None:
    def mixed(flower: float, owl: float) -> object:
        return [
            {"type": "text", "content": "a sunflower", "weight": flower},
            {**as_query(jpeg(drawing("owl")), "image"), "weight": owl},
        ]

    only = {"search_modalities": ["image"], "weights": {"lexical": 0}}
    assert best(http, shelf, mixed(1.0, 0.2), **only) == "sunflower"
    assert best(http, shelf, mixed(0.2, 1.0), **only) == "owl"


def test_the_scene_is_found_with_its_time_and_a_picture_of_it(http: httpx.Client, shelf: Shelf) -> None:
    (hit,) = search(http, "a helicopter", search_modalities=["video"], top_k=1)
    assert hit["start_s"] == 0.0
    assert 1.5 <= float(str(hit["end_s"])) <= 2.5
    assert hit["matched_frames"]
    assert "#t=0" in str(hit["url"])
    thumbnail = http.get(str(hit["thumbnail_url"])).raise_for_status()
    with Image.open(io.BytesIO(thumbnail.content)) as shown:
        assert (shown.format, max(shown.size)) == ("JPEG", 256)


def test_the_page_is_found_with_its_snippet(http: httpx.Client, shelf: Shelf) -> None:
    (hit,) = search(http, "what does the warehouse cost?", search_modalities=["document"], top_k=1)
    assert hit["page"] == 1
    assert "4200" in str(hit["snippet"])


def test_filters_hold_together(http: httpx.Client, shelf: Shelf) -> None:
    by_name = search(http, "anything", filters={"metadata": {"name": ["talk", "notes"]}})
    assert {shelf.name(str(one["file_id"])) for one in by_name} == {"talk", "notes"}
    both = {"metadata": {"name": ["talk", "notes"]}, "kind": "audio", "date": "last_30_days"}
    assert {shelf.name(str(one["file_id"])) for one in search(http, "anything", filters=both)} == {"talk"}
    assert search(http, "anything", filters={"date": {"before": "2020-01-01"}}) == []
    wrong = http.post("/v1/search", json={"query": "x", "filters": {"fiel_id": "y"}})
    assert wrong.status_code == 400


def test_deleted_is_gone_from_search_at_once(http: httpx.Client, shelf: Shelf) -> None:
    secret = upload(http, "secret.txt", b"The treasure is buried under the old lighthouse.")
    wait_processed(http, secret)
    assert search(http, "where is the treasure?")[0]["file_id"] == secret
    http.delete(f"/v1/files/{secret}").raise_for_status()
    assert secret not in [one["file_id"] for one in search(http, "where is the treasure?", top_k=100)]
    assert http.get(f"/v1/files/{secret}/content").status_code == 404


# --- answers -----------------------------------------------------------------------------------


def grounded(
    client: openai.OpenAI, question: str, **retrieval: object
) -> tuple[str, list[dict[str, object]]]:
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[user(words(question))],
        max_tokens=60,
        temperature=0,
        extra_body={"retrieval": retrieval or {"enabled": True}},
    )
    citations = (completion.model_extra or {})["citations"]
    return completion.choices[0].message.content or "", citations


def test_an_answer_stands_on_a_document_and_cites_it(client: openai.OpenAI, shelf: Shelf) -> None:
    answer, citations = grounded(client, "What is the wifi password of the guest network?")
    assert "bluebird" in answer
    assert citations[0]["file_id"] == shelf.ids["notes"]
    assert (citations[0]["number"], citations[0]["page"]) == (1, 1)
    assert "bluebird" in str(citations[0]["snippet"])


def test_an_answer_cites_the_second_of_a_recording(client: openai.OpenAI, shelf: Shelf) -> None:
    answer, citations = grounded(client, "Why are the customers leaving?", file_ids=[shelf.ids["talk"]])
    assert "price" in answer
    assert [one["file_id"] for one in citations] == [shelf.ids["talk"]]
    assert float(str(citations[0]["end_s"])) > float(str(citations[0]["start_s"])) >= 0


def test_a_picture_that_was_found_is_looked_at(client: openai.OpenAI, shelf: Shelf) -> None:
    answer, citations = grounded(
        client,
        "Which bird is in the picture?",
        top_k=1,
        score_threshold=0.1,
        filters={"metadata": {"name": ["owl", "sunflower"]}},
    )
    assert [one["file_id"] for one in citations] == [shelf.ids["owl"]]
    assert "owl" in answer.lower()


def test_the_pictures_of_the_question_are_part_of_the_query(client: openai.OpenAI, shelf: Shelf) -> None:
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[user(picture(jpeg(drawing("sunflower"), 300), "image/jpeg"))],
        max_tokens=5,
        extra_body={"retrieval": {"enabled": True, "top_k": 1, "filters": {"kind": "image"}}},
    )
    (cited,) = (completion.model_extra or {})["citations"]
    assert cited["file_id"] == shelf.ids["sunflower"]


def test_where_nothing_is_relevant_the_answer_says_so(client: openai.OpenAI, shelf: Shelf) -> None:
    answer, citations = grounded(client, "How many users churned in March?", score_threshold=0.6)
    assert citations == []
    assert "not in the library" in answer


def test_citations_are_streamed_before_the_words_and_again_at_the_end(
    client: openai.OpenAI, shelf: Shelf
) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[user(words("What is the wifi password of the guest network?"))],
        max_tokens=30,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"retrieval": {"enabled": True, "top_k": 2}},
    )
    seen: list[str] = []
    cited: list[object] = []
    for chunk in stream:
        if "citations" in (chunk.model_extra or {}):
            seen.append("citations")
            cited.append((chunk.model_extra or {})["citations"])
        elif chunk.choices and chunk.choices[0].delta.content:
            seen.append("words")
    assert seen[0] == seen[-1] == "citations"
    assert "words" in seen
    assert cited[0] == cited[-1] != []


def test_a_chat_takes_uploaded_files_of_every_kind_by_id(client: openai.OpenAI, shelf: Shelf) -> None:
    def ask(short: str, question: str) -> str:
        part = {"type": "file", "file": {"file_id": shelf.ids[short]}}
        completion = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": [part, words(question)]}],  # type: ignore[list-item, misc]
            max_tokens=40,
            temperature=0,
        )
        return completion.choices[0].message.content or ""

    assert "bluebird" in ask("notes", "What is the wifi password?")
    assert "flower" in ask("sunflower", "What is in this picture?").lower()
    assert "price" in ask("talk", "What does the speaker say?")
    assert "4200" in ask("minutes", "How much is the rent of the warehouse?")
    assert "INV-2024-0042" in ask("bill", "What does the invoice say?")


def test_a_chat_takes_a_document_in_the_request(client: openai.OpenAI) -> None:
    url = media.data_url("text/markdown", b"# Fees\n\nThe fee for a late return is 7 dollars a day.\n")
    part = {"type": "file", "file": {"file_data": url, "filename": "fees.md"}}
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": [part, words("What is the fee for a late return?")]}],  # type: ignore[list-item, misc]
        max_tokens=40,
        temperature=0,
    )
    assert "7 dollars" in (completion.choices[0].message.content or "")
