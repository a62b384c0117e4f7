"""What one line of a batch may be, and the form in which it is stored."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.batches.lines import (
    CHAT,
    URLS,
    LineRefused,
    own_url,
    parse_line,
    read_line,
    stored_line,
)
from app.batches.types import BatchError, Line
from tests.app.batches.lines import body, request, written

TEXT = st.text(st.characters(codec="utf-8"))
TRANSCRIPTIONS, TRANSLATIONS = "/v1/audio/transcriptions", "/v1/audio/translations"


def refusal(content: bytes, endpoint: str = CHAT) -> BatchError:
    with pytest.raises(LineRefused) as caught:
        parse_line(7, content, endpoint)
    return caught.value.at(7)


def fault(**parts: Any) -> tuple[str, str | None]:
    error = refusal(written(**parts))
    return error.code, error.param


def test_a_good_line_is_read() -> None:
    assert parse_line(7, written("x"), CHAT) == Line(7, "x", CHAT, body(), len(written("x")))


def test_blanks_around_a_line_do_not_matter() -> None:
    assert parse_line(7, b" \t" + written("x") + b"\r", CHAT).custom_id == "x"


@pytest.mark.parametrize("url", URLS)
def test_every_endpoint_is_known_with_and_without_groqs_prefix(url: str) -> None:
    assert own_url(url) == own_url(f"/openai{url}") == url
    assert parse_line(1, written(url=f"/openai{url}"), url).url == url


@pytest.mark.parametrize("name", ["custom_id", "method", "url", "body"])
def test_each_property_is_needed(name: str) -> None:
    line = request()
    del line[name]
    error = refusal(json.dumps(line).encode())
    assert (error.code, error.param) == ("missing_required_parameter", name)
    assert (error.line, error.message) == (7, f"property '{name}' is missing")


def test_a_body_needs_a_model() -> None:
    assert fault(body={}) == ("missing_required_parameter", "body.model")


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ({"priority": 1}, "priority"),
        ({"custom_id": ""}, "custom_id"),
        ({"custom_id": "x" * 513}, "custom_id"),
        ({"custom_id": 7}, "custom_id"),
        ({"custom_id": None}, "custom_id"),
        ({"body": []}, "body"),
        ({"body": "{}"}, "body"),
        ({"body": {"model": 1}}, "body.model"),
        ({"body": {"model": None}}, "body.model"),
    ],
)
def test_each_property_has_its_type(parts: dict[str, Any], param: str) -> None:
    error = refusal(json.dumps(request() | parts).encode())
    assert (error.code, error.param) == ("invalid_request", param)


def test_an_id_may_have_512_characters_of_any_kind() -> None:
    for custom_id in ("x" * 512, "é漢\U0001f600", "\u0000\n\u2028", " "):
        assert parse_line(1, written(custom_id), CHAT).custom_id == custom_id


@pytest.mark.parametrize("method", ["GET", "post", None, 1])
def test_the_method_is_post(method: Any) -> None:
    assert fault(method=method) == ("invalid_method", "method")


@pytest.mark.parametrize(
    "url",
    ["/v1/nothing", "/v1/chat/completions/", "v1/chat/completions", "", None, 1, ["/v1/responses"]],
)
def test_a_url_that_is_no_endpoint_is_invalid(url: Any) -> None:
    assert fault(url=url) == ("invalid_url", "url")


@pytest.mark.parametrize("endpoint", [CHAT, TRANSCRIPTIONS, TRANSLATIONS])
@pytest.mark.parametrize("url", [CHAT, TRANSCRIPTIONS, TRANSLATIONS])
def test_chat_and_audio_may_be_mixed(endpoint: str, url: str) -> None:
    assert parse_line(1, written(url=url), endpoint).url == url


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [(CHAT, "/v1/embeddings"), ("/v1/embeddings", CHAT), ("/v1/responses", "/v1/completions")],
)
def test_other_endpoints_may_not_be_mixed(endpoint: str, url: str) -> None:
    error = refusal(written(url=url), endpoint)
    assert (error.code, error.param) == ("url_mismatch", "url")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b" \t",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\0",
        written()[:-1],
        written() + b"\0",
        written() + written(),
        written().replace(b"Hi", b"\xff\xfe"),
        written().replace(b"Hi", b"\\ud800"),
        written().replace(b"Hi", b"\xed\xa0\x80"),
        b"\xef\xbb\xbf" + written(),
        written().decode().encode("utf-16"),
        b'{"custom_id": NaN}',
        b'{"custom_id": "a", "custom_id": "b"}',
        b'{"a":' * 200_000,
        b"[" * 200_000,
        b'{"body": ' + b"[" * 65 + b"]" * 65 + b"}",
    ],
    ids=lambda content: content[:24].hex(),
)
def test_what_is_no_json_object_within_bounds_is_an_invalid_line(content: bytes) -> None:
    error = refusal(content)
    assert (error.code, error.param, error.line) == ("invalid_json_line", None, 7)
    assert error.message.startswith("The line ")
    assert len(error.message) < 300


def test_an_error_repeats_little_of_the_line() -> None:
    error = refusal(json.dumps({**request(), "x" * 10_000: 1}).encode())
    assert len(error.message) < 300
    assert error.param is not None
    assert len(error.param) < 300


def test_a_stored_line_reads_back_as_the_line() -> None:
    content = written("a", url=TRANSCRIPTIONS)
    stored = stored_line(12, TRANSCRIPTIONS, content)
    assert stored == b"12 /v1/audio/transcriptions " + content + b"\n"
    assert read_line(stored) == read_line(stored[:-1]) == parse_line(12, content, CHAT)


@given(
    st.integers(1, 10**9),
    st.sampled_from(URLS),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=40),
    st.dictionaries(TEXT, st.floats(allow_nan=False, allow_infinity=False) | TEXT),
    st.booleans(),
)
def test_every_good_line_reads_back(
    number: int, url: str, custom_id: str, more: dict[str, Any], is_ascii: bool
) -> None:
    line = request(custom_id, url=url, body={**more, "model": "m"})
    content = json.dumps(line, ensure_ascii=is_ascii).encode()
    parsed = parse_line(number, content, url)
    assert (parsed.number, parsed.custom_id, parsed.body) == (number, custom_id, line["body"])
    assert b"\n" not in content
    assert read_line(stored_line(number, parsed.url, content)) == parsed


@pytest.mark.parametrize(
    "stored", [b"", b"1", b"x /v1/responses {}", b"1 /v1/chat/completions {}\n", b"1 ? \xff"]
)
def test_what_is_no_stored_line_is_a_value_error(stored: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_line(stored)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(content: bytes) -> None:
    with pytest.raises(LineRefused):
        parse_line(1, content, CHAT)
    with pytest.raises(ValueError, match=r".*"):
        read_line(content)
