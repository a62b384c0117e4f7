"""What a request of speech may say."""

import json
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.speech.schemas import Format, SampleRate, SpeechRequest
from app.audio.formats import FORMATS, SAMPLE_RATES
from app.errors import ApiError
from app.json_document import parse
from tests.app.api.application import JSON
from tests.app.api.speech.stubs import speech_body


def request(**fields: Any) -> SpeechRequest:
    return parse(SpeechRequest, json.dumps(speech_body(**fields)).encode())


def refusal(**fields: Any) -> str:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    assert caught.value.status == 400
    return caught.value.message


def test_every_format_and_rate_that_can_be_written_may_be_asked_for() -> None:
    assert set(get_args(Format)) == set(FORMATS)
    assert get_args(SampleRate) == SAMPLE_RATES


@pytest.mark.parametrize(
    ("fields", "format", "rate"),
    [
        ({}, "wav", 48_000),
        ({"response_format": None, "sample_rate": None, "speed": None}, "wav", 48_000),
        ({"response_format": "mulaw"}, "mulaw", 48_000),
        ({"response_format": "mp3", "sample_rate": 8000}, "mp3", 8_000),
        ({"response_format": "pcm"}, "pcm", 24_000),
        ({"response_format": "pcm", "sample_rate": 48_000}, "pcm", 48_000),
    ],
)
def test_format_and_rate_have_their_defaults(
    fields: dict[str, Any], format: str, rate: int
) -> None:
    asked = request(**fields)
    assert (asked.format, asked.rate) == (format, rate)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"instructions": "Whisper."}, "property 'instructions' is unsupported"),
        (
            {"stream": True},
            "property 'stream' is unsupported, did you mean 'stream_format'?",
        ),
        ({"stream_format": "sse"}, "`stream_format` can only be `audio`"),
        ({"lang_code": "en"}, "property 'lang_code' is unsupported"),
        ({"input": ""}, "'input' : minimum string length is 1"),
        ({"input": None}, "'input' : Value is not nullable"),
        ({"input": ["a"]}, "'input' : value must be a string"),
        ({"voice": ""}, "'voice' : minimum string length is 1"),
        ({"voice": {"id": "voice_1"}}, "'voice' : value must be a string"),
        ({"voice": "x" * 257}, "'voice' : maximum string length is 256"),
        ({"model": 7}, "'model' : value must be a string"),
        ({"speed": 0.49}, "'speed' : number must be at least 0.5"),
        ({"speed": 5.01}, "'speed' : number must be at most 5.0"),
        ({"speed": -(2**63)}, "'speed' : number must be at least 0.5"),
        ({"speed": 1e308}, "'speed' : number must be at most 5.0"),
        ({"speed": "1"}, "'speed' : value must be a number"),
        ({"speed": True}, "'speed' : value must be a number"),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields) == message


@pytest.mark.parametrize("rate", [0, 1, -8000, 11_025, 96_000, 2**62, "8000", 8000.5, True])
def test_no_other_sample_rate_is_taken(rate: Any) -> None:
    assert refusal(sample_rate=rate).startswith("'sample_rate' : value is not one of the allowed")


@pytest.mark.parametrize("format", ["WAV", "m4a", "pcm16", "", 7, ["wav"]])
def test_no_other_format_is_taken(format: Any) -> None:
    message = refusal(response_format=format)
    assert message.startswith("'response_format' : value is not one of the allowed")


@pytest.mark.parametrize("fields", [{"speed": 0.5}, {"speed": 5}, {"stream_format": "audio"}])
def test_values_at_the_bounds_and_no_ops_are_taken(fields: dict[str, Any]) -> None:
    assert request(**fields).input == "Hello."


@pytest.mark.parametrize("name", ["model", "input", "voice"])
def test_what_is_missing_is_named(name: str) -> None:
    body = speech_body()
    del body[name]
    with pytest.raises(ApiError, match=f"property '{name}' is missing"):
        parse(SpeechRequest, json.dumps(body).encode())


@given(name=st.sampled_from(sorted(SpeechRequest.model_fields)), value=JSON)
def test_any_json_value_in_any_field_is_taken_or_refused(name: str, value: Any) -> None:
    body = json.dumps(speech_body(**{name: value})).encode()
    with suppress(ApiError):
        taken = parse(SpeechRequest, body)
        assert taken.format in FORMATS
        assert taken.rate in SAMPLE_RATES
        assert taken.speed is None or 0.5 <= taken.speed <= 5
