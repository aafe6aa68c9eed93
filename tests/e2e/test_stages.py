"""What a client is told of the stages of its request, live and afterwards."""

from __future__ import annotations

import httpx
import openai
from openai.types.chat import ChatCompletionChunk, ChatCompletionUserMessageParam

from tests import media
from tests.e2e.conftest import MODEL
from tests.e2e.parts import picture, sound, user, words

STAGES = {"include_stages": True, "include_usage": True}


def question(number: int) -> ChatCompletionUserMessageParam:
    """About media that no other test sends: the server would know them already."""
    pictures = [
        picture(media.picture_with_text(f"{text} {number}")) for text in ("TOTAL 42 EUR", "OPEN DAILY")
    ]
    speech = sound(media.speech(f"Please pay bill number {number}."))
    return user(*pictures, speech, words("What does the first one say?"))


def extra(chunk: ChatCompletionChunk, name: str) -> object:
    return (chunk.model_extra or {}).get(name)


def test_a_stream_says_what_runs_now_and_in_the_end_how_long_it_took(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=[question(1)],
            max_tokens=8,
            stream=True,
            extra_body={"stream_options": STAGES},
        )
    )
    events = [stage for chunk in chunks if isinstance(stage := extra(chunk, "stage"), dict)]
    began = [event["label"] for event in events if event["seconds"] is None]
    assert set(began[:3]) == {"loading image 1/2", "loading image 2/2", "loading audio 1/1"}
    assert set(began[3:-1]) == {"encoding image 1/2", "encoding image 2/2", "encoding audio 1/1"}
    assert began[-1] == "generating"
    for place in ("image 1/2", "image 2/2", "audio 1/1"):
        ends = [
            (event["label"], event["seconds"] is None) for event in events if event["label"].endswith(place)
        ]
        loading, encoding = f"loading {place}", f"encoding {place}"
        assert ends == [(loading, True), (loading, False), (encoding, True), (encoding, False)]
    (times,) = [stages for chunk in chunks if isinstance(stages := extra(chunk, "stages"), list)]
    assert sorted(time["stage"] for time in times) == ["encode"] * 3 + ["generate"] + ["load"] * 3
    assert all(time["seconds"] > 0 for time in times)


def test_a_client_that_knows_nothing_of_stages_reads_the_same_answer(client: openai.OpenAI) -> None:
    def answer(options: dict[str, bool]) -> str:
        stream = client.chat.completions.create(
            model=MODEL,
            messages=[question(2)],
            max_tokens=8,
            temperature=0,
            stream=True,
            extra_body={"stream_options": options},
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    assert answer(STAGES) == answer({"include_usage": True})


def test_a_whole_answer_carries_the_times(http: httpx.Client) -> None:
    body = {"model": MODEL, "messages": [question(3)], "max_tokens": 4, "stream_options": STAGES}
    stages = http.post("/v1/chat/completions", json=body).raise_for_status().json()["stages"]
    param = "messages.0.content.1"
    assert [stage["stage"] for stage in stages if stage["param"] == param] == ["load", "encode"]
    assert stages[-1]["stage"] == "generate"


def test_metrics_have_every_stage(http: httpx.Client) -> None:
    body = {"model": MODEL, "messages": [question(3)], "max_tokens": 4}
    http.post("/v1/chat/completions", json=body).raise_for_status()
    metrics = http.get("/metrics").text
    for stage in ("load", "encode", "generate"):
        assert any(
            line.startswith("multimodal_stage_seconds_count{") and f'stage="{stage}"' in line
            for line in metrics.splitlines()
        )
