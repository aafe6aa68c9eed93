"""Which text is believed, over a model whose answers are written down beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from multimodal.encoders.decoding import Batch, Decoder
from multimodal.encoders.whisper import MAX_PROMPT_TOKENS, WINDOW_FRAMES
from multimodal.types import SpeechHints
from tests.unit.encoders.fake_whisper import SOT_PREV, Answer, Model, model, window


def batch(decoder: Decoder, whisper: Model, prompt: str = "", temperature: float = 0.0) -> Batch:
    """A window for each of the answers of a model."""
    levels = sorted(whisper.answers)
    features = np.stack([np.full((whisper.n_mels, WINDOW_FRAMES), level, np.float32) for level in levels])
    hints = SpeechHints(prompt=prompt, temperature=temperature)
    windows = [window(level, hints=hints) for level in levels]
    return decoder.batch(features, windows, [decoder.prompt(prompt) for _ in levels])


def believed(whisper: Model, prompt: str = "", temperature: float = 0.0) -> list[str]:
    """The text of each window, without those that are not believed."""
    decoder = Decoder(whisper.loaded(), 3)
    attempts = decoder.attempts(batch(decoder, whisper, prompt, temperature))
    return [attempt.text.strip() if attempt.tokens else "" for attempt in attempts]


@pytest.mark.parametrize(
    ("score", "no_speech_prob", "heard"),
    [(-2.0, 0.9, ""), (-2.0, 0.1, "Thank you."), (-0.2, 0.9, "Thank you."), (-0.2, 0.1, "Thank you.")],
)
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_unlikely_words_where_probably_nobody_speaks_are_dropped(
    score: float, no_speech_prob: float, heard: str, temperature: float
) -> None:
    whisper = model(Answer("Thank you.", score, no_speech_prob), Answer("Real words."))
    assert believed(whisper, temperature=temperature) == [heard, "Real words."]


LOOP = Answer("I do not know. " * 20)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_a_text_that_goes_round_in_circles_is_decoded_again_without_repeats(temperature: float) -> None:
    whisper = model(Answer("first."), (LOOP, Answer("I do not know.")), Answer("last."))
    assert believed(whisper, temperature=temperature) == ["first.", "I do not know.", "last."]
    again = whisper.generated[1]
    assert (len(again.prompts), again.no_repeat > 0) == (1, True)
    assert again.sampling == whisper.generated[0].sampling


@pytest.mark.parametrize("again", [LOOP, Answer("zebra piano", score=-3.0)])
def test_a_text_that_cannot_be_had_without_repeats_is_dropped(again: Answer) -> None:
    assert believed(model((LOOP, again), Answer("Real words."))) == ["", "Real words."]


def test_blank_text_is_not_aligned() -> None:
    whisper = model(Answer(""), Answer("Words."))
    decoder = Decoder(whisper.loaded(), 3)
    sounds = batch(decoder, whisper)
    aligned = decoder.align(sounds, decoder.attempts(sounds), [window(0), window(1)])
    assert [each is None for each in aligned] == [True, False]


# --- prompts -----------------------------------------------------------------------------------


def test_words_of_a_prompt_are_not_heard_where_nobody_speaks() -> None:
    """The prompt makes the model sure that somebody speaks, and of what."""
    silence = Answer("you", score=-3.0, no_speech_prob=0.9, prompted="Kubernetes")
    speech = Answer("We use cuba needs.", prompted="We use Kubernetes.")
    whisper = model(silence, speech)
    assert believed(whisper, prompt="Kubernetes") == ["", "We use Kubernetes."]
    assert [[SOT_PREV in prompt for prompt in call.prompts] for call in whisper.generated] == [
        [True, True],
        [False],
    ]


def test_soft_speech_is_heard_without_the_prompt() -> None:
    """Where probably nobody speaks, only words that come without the prompt count."""
    soft = Answer("Good night.", score=-0.3, no_speech_prob=0.8, prompted="Kubernetes")
    assert believed(model(soft), prompt="Kubernetes") == ["Good night."]


def test_a_text_that_goes_round_in_circles_is_decoded_again_without_the_prompt() -> None:
    looping = Answer("never", prompted="The cat sat. " * 20)
    whisper = model((looping, Answer("He played the piano.")))
    assert believed(whisper, prompt="The cat sat.") == ["He played the piano."]


def test_a_chorus_is_no_text_that_goes_round_in_circles() -> None:
    chorus = "Row the boat. " * 20  # 60 words: nobody says 100 in ten seconds
    assert believed(model(Answer(chorus))) == [chorus.strip()]


def test_the_probability_of_silence_is_that_without_the_prompt() -> None:
    whisper = model(Answer("Yes.", no_speech_prob=0.5))
    decoder = Decoder(whisper.loaded(), 3)
    (attempt,) = decoder.attempts(batch(decoder, whisper, prompt="No."))
    assert attempt.no_speech_probability == 0.5


def test_the_end_of_a_long_prompt_counts_and_leaves_room_for_the_text() -> None:
    """The fake model checks the room."""
    whisper = model(Answer("Yes."))
    names = ["".join(Random(seed).choices(ascii_lowercase, k=8)) for seed in range(400)]
    decoder = Decoder(whisper.loaded(), 3)
    start, *tokens = decoder.prompt(" ".join(names))
    assert (start, len(tokens)) == (SOT_PREV, MAX_PROMPT_TOKENS)
    assert [whisper.vocabulary.words[token].strip() for token in tokens] == names[-MAX_PROMPT_TOKENS:]
    assert believed(whisper, prompt=" ".join(names)) == ["Yes."]


@pytest.mark.parametrize("prompt", ["", " \n\t", "The cat sat on the mat. " * 20, "a " * 3000])
def test_a_prompt_that_is_blank_or_goes_round_in_circles_is_none(prompt: str) -> None:
    assert Decoder(model().loaded(), 3).prompt(prompt) == []


@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_prompt_leaves_the_speech_as_it_is(prompts: Sequence[str]) -> None:
    whisper = model(Answer("Yes."), multilingual=True)
    assert all(believed(whisper, prompt=prompt) == ["Yes."] for prompt in prompts)
