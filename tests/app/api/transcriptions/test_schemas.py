"""The two forms: what each field takes, from text alone."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.api.transcriptions.schemas import (
    GRANULARITIES,
    AudioForm,
    TranscriptionForm,
    TranslationForm,
    read,
)
from app.errors import ApiError
from app.uploads import MAX_FIELD_BYTES, UploadedFile
from tests.stopwatch import cpu_time

FORMATS = ["json", "text", "verbose_json", "srt", "vtt"]
BRACKETS = f"{GRANULARITIES}[]"


def upload(lists: dict[str, list[str]] | None = None, **fields: str) -> UploadedFile:
    given = {"model": "whisper", **fields}
    return UploadedFile(Path("x"), "a.wav", 1, "", given, lists or {})


def refusal(form: type[AudioForm], sent: UploadedFile) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(form, sent)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("form", [TranscriptionForm, TranslationForm])
def test_a_model_is_enough(form: type[AudioForm]) -> None:
    asked = read(form, upload())
    assert (asked.prompt, asked.response_format, asked.temperature) == ("", "json", 0.0)
    assert (asked.wants_segments, asked.wants_words) == (True, False)


def test_a_missing_model_is_named() -> None:
    error = refusal(TranscriptionForm, UploadedFile(Path("x"), "a.wav", 1, "", {}))
    assert (error.param, "'model' is missing" in error.message) == ("model", True)


@pytest.mark.parametrize("response_format", FORMATS)
def test_every_format_can_be_asked_for(response_format: Any) -> None:
    asked = read(TranslationForm, upload(response_format=response_format))
    assert asked.response_format == response_format


@given(st.floats(0, 1))
def test_a_temperature_is_read_as_it_was_written(temperature: float) -> None:
    assert read(TranscriptionForm, upload(temperature=str(temperature))).temperature == temperature


@given(
    st.floats().map(str)
    | st.integers().map(str)
    | st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["nan", "inf", "-inf", "1e999", "0_1", " 0.5", "٠", "0x0", "1,0", "true", ""])
)
def test_any_other_temperature_is_refused(written: str) -> None:
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", written):
        assume(not 0 <= float(written) <= 1)
    assert refusal(TranscriptionForm, upload(temperature=written)).param == "temperature"


@pytest.mark.parametrize("end", ["x", ".", "e", ".x"])
def test_a_number_of_the_longest_field_is_read_in_no_time(end: str) -> None:
    written = "1" * (MAX_FIELD_BYTES - len(end)) + end
    with cpu_time() as watch:
        assert refusal(TranscriptionForm, upload(temperature=written)).param == "temperature"
    assert watch.seconds < 0.05


@pytest.mark.parametrize("name", [GRANULARITIES, BRACKETS])
@pytest.mark.parametrize(
    ("values", "segments", "words"),
    [(["word"], False, True), (["segment"], True, False), (["word", "segment"], True, True)],
)
def test_granularities_come_with_brackets_and_without(
    name: str, values: list[str], segments: bool, words: bool
) -> None:
    asked = read(TranscriptionForm, upload({name: values}, response_format="verbose_json"))
    assert (asked.wants_segments, asked.wants_words) == (segments, words)


def test_both_spellings_count_together() -> None:
    lists = {GRANULARITIES: ["word"], BRACKETS: ["segment"]}
    asked = read(TranscriptionForm, upload(lists, response_format="verbose_json"))
    assert asked.wants_segments
    assert asked.wants_words


@pytest.mark.parametrize("response_format", ["json", "text", "srt", "vtt"])
def test_granularities_need_verbose_json(response_format: str) -> None:
    sent = upload({BRACKETS: ["word"]}, response_format=response_format)
    error = refusal(TranscriptionForm, sent)
    assert (error.param, "verbose_json" in error.message) == (GRANULARITIES, True)


@pytest.mark.parametrize("value", ["", "words", "Word", "word,segment", '["word"]'])
def test_another_granularity_is_refused(value: str) -> None:
    sent = upload({BRACKETS: [value]}, response_format="verbose_json")
    assert (refusal(TranscriptionForm, sent).param or "").startswith(GRANULARITIES)


def test_a_translation_is_into_english() -> None:
    assert read(TranslationForm, upload(language="en")).language == "en"


@pytest.mark.parametrize("language", ["de", "EN", "", "english"])
def test_a_translation_into_another_language_is_refused(language: str) -> None:
    assert refusal(TranslationForm, upload(language=language)).param == "language"


@pytest.mark.parametrize("value", ["false", "False"])
def test_no_stream_is_what_there_is(value: str) -> None:
    assert read(TranscriptionForm, upload(stream=value)).stream == "false"


@pytest.mark.parametrize("value", ["true", "1", "", "null"])
def test_a_stream_is_refused(value: str) -> None:
    error = refusal(TranscriptionForm, upload(stream=value))
    assert (error.param, error.message) == ("stream", "`stream` is not supported with this model")


@pytest.mark.parametrize("field", ["model", "response_format", "temperature", "language", "stream"])
@pytest.mark.parametrize("value", ["\x00" * 16_000, "[]" * 8_000, "{}" * 500, "9" * 16_000])
def test_values_of_the_wrong_kind_are_refused_in_bounded_words(field: str, value: str) -> None:
    error = refusal(TranslationForm, upload(**{field: value}))
    assert error.param == field
    assert len(error.message) < 500
