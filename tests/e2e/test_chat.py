"""Conversations about real media with the real models, through OpenAI's own client."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests import media
from tests.e2e.conftest import MODEL
from tests.e2e.parts import clip, picture, sound, user, words

SENTENCE = "Hello, my name is Anna and I live in Berlin."
CAPTIONS = [("red", "CHAPTER ONE"), ("green", "CHAPTER TWO"), ("blue", "THE END")]


def ask(client: openai.OpenAI, *messages: ChatCompletionMessageParam, max_tokens: int = 100) -> str:
    completion = client.chat.completions.create(model=MODEL, messages=list(messages), max_tokens=max_tokens)
    return completion.choices[0].message.content or ""


def test_a_question_is_answered_in_a_stream_of_several_chunks(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": "What is the capital of Japan?"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "Tokyo" in "".join(text)
    assert len([piece for piece in text if piece]) > 3
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens >= len([piece for piece in text if piece])


def test_a_stream_says_the_same_as_a_whole_answer(client: openai.OpenAI) -> None:
    message = user(words("Name three colours."))
    stream = client.chat.completions.create(model=MODEL, messages=[message], max_tokens=40, stream=True)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert streamed == ask(client, message, max_tokens=40)


def test_a_printed_line_in_a_picture_is_quoted(client: openai.OpenAI) -> None:
    printed = picture(media.picture_with_text("TOTAL 42 EUR"))
    assert "TOTAL 42 EUR" in ask(client, user(words("What is written in the picture?"), printed))


@pytest.mark.parametrize("format", ["jpeg", "webp", "gif", "bmp", "tiff"])
def test_pictures_of_every_format_are_understood(client: openai.OpenAI, format: media.PictureFormat) -> None:
    drawn = media.encode(media.draw_text("OPEN", size=(320, 160)), format)
    answer = ask(client, user(picture(drawn, f"image/{format}"), words("What is written in the picture?")))
    assert "OPEN" in answer.upper()


def test_spoken_words_come_back(client: openai.OpenAI) -> None:
    answer = ask(client, user(sound(media.speech(SENTENCE)), words("Where does the speaker live?")))
    assert "Berlin" in answer


@pytest.mark.parametrize("container", ["mp3", "flac", "ogg", "m4a"])
def test_recordings_of_every_format_are_understood(
    client: openai.OpenAI, container: media.SoundFormat
) -> None:
    recording = sound(media.speech(SENTENCE, container), container)
    assert "Berlin" in ask(client, user(recording, words("Where does the speaker live?")))


def test_a_clip_with_captions_and_a_voice_is_understood(client: openai.OpenAI) -> None:
    film = clip(media.captioned_clip(captions=CAPTIONS, voice="Thank you for watching."))
    assert "THE END" in ask(client, user(film, words("What is the last caption?"))).upper()
    assert "thank you for watching" in ask(client, user(film, words("What does the speaker say?"))).lower()


def test_the_frames_of_a_clip_are_sampled_as_the_request_says(client: openai.OpenAI) -> None:
    film = media.captioned_clip(captions=CAPTIONS)
    few = clip(film, frame_sampling="scene", max_frames=1)
    whole = client.chat.completions.create(model=MODEL, messages=[user(clip(film), words("?"))], max_tokens=1)
    short = client.chat.completions.create(model=MODEL, messages=[user(few, words("?"))], max_tokens=1)
    assert whole.usage is not None
    assert short.usage is not None
    assert short.usage.prompt_tokens < whole.usage.prompt_tokens


def test_a_mixture_of_media_is_kept_apart(client: openai.OpenAI) -> None:
    mixture = [
        picture(media.picture_with_text("NO PARKING")),
        sound(media.speech(SENTENCE)),
        clip(media.captioned_clip(captions=CAPTIONS)),
    ]
    assert "Berlin" in ask(client, user(*mixture, words("Where does the speaker live?")))
    assert "THE END" in ask(client, user(*mixture, words("What is the last caption in the video?"))).upper()


def test_a_second_turn_knows_the_picture_of_the_first(client: openai.OpenAI) -> None:
    first = user(
        picture(media.picture_with_text("INVOICE 2024-117")), words("What is written in the picture?")
    )
    completion = client.chat.completions.create(model=MODEL, messages=[first], max_tokens=60)
    # The answer is sent back as it came: with nulls and fields that requests do not have.
    history = completion.choices[0].message.model_dump()
    second = user(words("Repeat what is written in the picture."))
    messages: list[ChatCompletionMessageParam] = [first, history, second]  # type: ignore[list-item]
    assert "2024-117" in ask(client, *messages, max_tokens=60)


def test_an_answer_follows_a_json_schema(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "currency": {"type": "string", "enum": ["EUR", "USD"]}},
        "required": ["amount", "currency"],
        "additionalProperties": False,
    }
    completion = client.chat.completions.create(
        model=MODEL,
        messages=[user(picture(media.picture_with_text("TOTAL 42 EUR")), words("What is the total?"))],
        response_format={"type": "json_schema", "json_schema": {"name": "total", "schema": schema}},
    )
    # Which amount such a small model finds is its own affair; the form is not.
    found = json.loads(completion.choices[0].message.content or "")
    assert found.keys() == {"amount", "currency"}
    assert isinstance(found["amount"], int)
    assert found["currency"] in ("EUR", "USD")


def test_a_stop_string_ends_the_answer(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=[user(words("Count: one two three four five"))], stop=["three"], max_tokens=50
    )
    assert "three" not in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"


def test_the_same_seed_gives_the_same_words(client: openai.OpenAI) -> None:
    def say(seed: int) -> str | None:
        completion = client.chat.completions.create(
            model=MODEL, messages=[user(words("Tell a story."))], temperature=1, seed=seed, max_tokens=30
        )
        return completion.choices[0].message.content

    assert say(1) == say(1)
    assert say(1) != say(2)


def test_several_answers_differ(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model=MODEL, messages=[user(words("Tell a story."))], n=3, max_tokens=30
    )
    assert [choice.index for choice in completion.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in completion.choices}) > 1


def test_a_prompt_that_was_seen_before_is_found_in_the_prefix_cache(client: openai.OpenAI) -> None:
    message = user(words("Here is a long list of words. " + "apple pear plum cherry " * 100))
    for _ in range(2):
        completion = client.chat.completions.create(model=MODEL, messages=[message], max_tokens=1)
    usage = completion.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert (usage.prompt_tokens_details.cached_tokens or 0) >= 256


def test_a_picture_that_says_too_much_is_shortened_and_the_answer_says_so(client: openai.OpenAI) -> None:
    page = picture(media.encode(media.draw_text("much text " * 8, size=(1200, 300)), "png"))
    filler = words("word " * 8050)
    completion = client.chat.completions.create(
        model=MODEL, messages=[user(page, page, page, page, filler)], max_tokens=8
    )
    assert completion.model_extra is not None
    notes = completion.model_extra["media_notes"]
    assert notes[0]["note"] == "shortened"
    assert notes[0]["param"] == "messages.0.content.0"


def test_what_looks_like_control_tokens_is_read_as_text(client: openai.OpenAI) -> None:
    def prompt_tokens(text: str) -> int:
        completion = client.chat.completions.create(model=MODEL, messages=[user(words(text))], max_tokens=1)
        assert completion.usage is not None
        return completion.usage.prompt_tokens

    # One token each, if they were what they look like.
    assert prompt_tokens("<|im_end|>" * 10 + "<image>" * 10) > prompt_tokens("") + 60
