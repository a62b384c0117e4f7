"""Which bytes are taken as a JSON document, and in which words the others are refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from app.errors import ApiError
from app.json_document import MAX_DEPTH, MAX_KEYS, MAX_VALUES, checked, decode, parse
from tests.stopwatch import cpu_time


class Anything(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: Any = None


def value(raw: str) -> Any:
    return parse(Anything, b'{"value": ' + raw.encode() + b"}").value


def refusal(body: bytes) -> str:
    with pytest.raises(ApiError) as caught:
        parse(Anything, body)
    assert (caught.value.status, caught.value.type) == (400, "invalid_request_error")
    return caught.value.message


def test_a_document_is_decoded_without_being_checked() -> None:
    assert decode(b' {"any": [1, null, "\\u00e9"]}\n') == {"any": [1, None, "é"]}


def test_a_decoded_document_is_checked_as_its_bytes_would_be() -> None:
    assert checked(Anything, {"value": {"a": 1}}).value == {"a": 1}
    with pytest.raises(ApiError) as caught:
        checked(Anything, {"valu": 1})
    assert caught.value.message == refusal(b'{"valu": 1}')


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.integers(-(2**64), 2**64),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
@pytest.mark.parametrize("escaped", [True, False])
def test_every_json_value_is_read_as_it_was_written(escaped: bool, document: Any) -> None:
    written = json.dumps({"value": document}, ensure_ascii=escaped).encode()
    assert parse(Anything, written).value == document


def status(raw: bytes) -> int:
    try:
        parse(Anything, raw)
    except ApiError as error:
        return error.status
    return 200


@given(st.binary() | st.binary().map(lambda raw: b'{"value":' + raw + b"}"))
def test_no_bytes_make_a_server_error(raw: bytes) -> None:
    assert status(raw) in (200, 400)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The request body is empty: a JSON object is expected."),
        (b" \n\t", "The request body is empty: a JSON object is expected."),
        (b"[]", "The request body must be a JSON object."),
        (b"null", "The request body must be a JSON object."),
        (b'"a"', "The request body must be a JSON object."),
        (b"{'a': 1}", "The request body is not valid JSON (line 1, column 2)."),
        (b'{"value":\n1,}', "The request body is not valid JSON (line 2, column 3)."),
        (b'{"value": 1} x', "The request body is not valid JSON (line 1, column 14)."),
        (b'{"value": "\x00"}', "The request body is not valid JSON (line 1, column 12)."),
        (b'\xef\xbb\xbf{"value": 1}', "The request body is not valid JSON (line 1, column 1)."),
        (b'{"value": "\xff"}', "The request body is not valid UTF-8."),
        (b'{"value": "\xed\xa0\x80"}', "The request body is not valid UTF-8."),
        ('{"value": 1}'.encode("utf-16"), "The request body is not valid UTF-8."),
        (b'{"value": 1, "value": 2}', "The request body gives the property 'value' twice."),
        (b'{"value": {"a":1,"a":1}}', "The request body gives the property 'a' twice."),
        (b'{"value": NaN}', "The request body has the number NaN, which JSON does not know."),
        (
            b'{"value": [-Infinity]}',
            "The request body has the number -Infinity, which JSON does not know.",
        ),
        (b'{"value": 1e999}', "The request body has a number that is out of range."),
        (
            b'{"value": ' + b"9" * 5_000 + b"}",
            "The request body has an integer that is out of range.",
        ),
        (
            b'{"value": "\\ud800"}',
            "The request body has half of a surrogate pair, which is not Unicode text.",
        ),
        (
            b'{"value": {"\\udfff": 1}}',
            "The request body has half of a surrogate pair, which is not Unicode text.",
        ),
    ],
)
def test_a_malformed_body_is_refused_with_what_is_wrong(body: bytes, said: str) -> None:
    assert refusal(body) == said


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert value(r'"\ud83c\udff4"') == "🏴"


def test_an_escaped_backslash_before_a_surrogate_is_text() -> None:
    assert value(r'"\\ud800"') == r"\ud800"


def test_nesting_is_bounded() -> None:
    deepest = MAX_DEPTH - 1
    assert value("[" * deepest + "]" * deepest)
    for depth in (deepest + 1, 900, 100_000):
        said = refusal(b'{"value": ' + b"[" * depth + b"]" * depth + b"}")
        assert said == f"The request body is nested more than {MAX_DEPTH} levels deep."


def test_an_unclosed_nesting_is_refused_whatever_its_depth() -> None:
    assert refusal(b'{"value":' * 100_000)


def test_the_keys_of_one_object_are_bounded() -> None:
    def keys(count: int) -> str:
        return json.dumps({str(number): 1 for number in range(count)})

    assert len(value(keys(MAX_KEYS))) == MAX_KEYS
    assert "more than 1024 properties" in refusal(keys(200_000).encode())


def test_the_values_of_a_document_are_bounded() -> None:
    assert len(value(json.dumps([0] * (MAX_VALUES - 2)))) == MAX_VALUES - 2
    assert "values" in refusal(json.dumps({"value": [0] * MAX_VALUES}).encode())


def test_millions_of_small_objects_are_refused() -> None:
    body = b'{"value": [' + b"{}," * 2_000_000 + b"{}]}"
    assert "values" in refusal(body)


@pytest.mark.parametrize("unit", [b"[],", b"{},", b"1,", b'"",'])
def test_a_flood_of_values_is_refused_before_it_is_built(unit: bytes) -> None:
    body = b'{"value":[' + unit * (5_000_000 // len(unit)) + b"1]}"
    with cpu_time() as watch:
        assert "values" in refusal(body)
    assert watch.seconds < 0.5


def test_separators_inside_a_text_are_no_values() -> None:
    text = '[{,"\\' * MAX_VALUES
    assert parse(Anything, json.dumps({"value": text}).encode()).value == text


@pytest.mark.parametrize("end", [b"", b"\\"])
def test_a_text_without_end_takes_no_time(end: bytes) -> None:
    with cpu_time() as taken:
        refusal(b'{"value": [' + b"," * MAX_VALUES + b'"' + b'\\"' * 50_000 + end)
    assert taken.seconds < 1
