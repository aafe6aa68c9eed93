import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES  # type: ignore[import-untyped]
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from multimodal.languages import NAMES, UNKNOWN, UNSPACED, code_of, name_of


def test_the_table_is_that_of_whisper() -> None:
    assert NAMES == LANGUAGES
    assert set(NAMES) == set(_LANGUAGE_CODES)
    assert set(NAMES) > UNSPACED


def test_every_name_that_whisper_takes_is_known() -> None:
    assert {name: code_of(name) for name in TO_LANGUAGE_CODE} == TO_LANGUAGE_CODE


@pytest.mark.parametrize("code", NAMES)
def test_codes_and_names_lead_back_to_the_code_in_any_case(code: str) -> None:
    assert code_of(code) == code_of(code.upper()) == code
    assert code_of(name_of(code)) == code_of(f" {name_of(code).title()} ") == code


@pytest.mark.parametrize("name", ["", "xx", "en-US", "englisch", UNKNOWN, "e\0n"])
def test_other_words_are_no_language(name: str) -> None:
    assert code_of(name) is None


def test_javanese_is_known_by_its_iso_code_too() -> None:
    assert code_of("jv") == "jw"


@pytest.mark.parametrize("code", [UNKNOWN, "xx"])
def test_a_code_without_a_name_stands_for_itself(code: str) -> None:
    assert name_of(code) == code
