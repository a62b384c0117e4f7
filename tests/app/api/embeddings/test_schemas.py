"""What a request of embeddings may say."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.embeddings.schemas import (
    MAX_INPUTS,
    MAX_TOKEN_ID,
    MAX_TOKEN_IDS,
    CreateEmbeddingRequest,
)
from app.errors import ApiError
from app.json_document import parse
from tests.app.api.application import JSON
from tests.app.api.embeddings.stubs import embedding_body

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
IDS = st.lists(st.integers(0, MAX_TOKEN_ID), min_size=1, max_size=8)


def request(**fields: Any) -> CreateEmbeddingRequest:
    return parse(CreateEmbeddingRequest, json.dumps(embedding_body(**fields)).encode())


def refusal(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    assert caught.value.status == 400
    return caught.value


@given(st.lists(TEXT, min_size=1, max_size=8) | st.lists(IDS, min_size=1, max_size=8))
def test_an_array_is_as_many_inputs_in_its_order(inputs: list[str] | list[list[int]]) -> None:
    assert request(input=inputs).inputs == inputs


@given(TEXT | IDS)
def test_a_text_or_an_array_of_ids_is_one_input(one: str | list[int]) -> None:
    assert request(input=one).inputs == [one]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "'input' : Value is not nullable"),
        (7, "'input' : value must be a string"),
        (True, "'input' : value must be a string"),
        ({"a": 1}, "'input' : value must be a string"),
        ("", "'input' : minimum string length is 1"),
        ([], "'input' : minimum number of items is 1"),
        (["a", ""], "'input.1' : minimum string length is 1"),
        (["a", "b", "c", 1], "'input.3' : value must be a string"),
        (["a", None], "'input.1' : Value is not nullable"),
        (["a", ["b"]], "'input.1' : value must be a string"),
        ([1, "a"], "'input.1' : value must be an integer"),
        ([1, -1], "'input.1' : number must be at least 0"),
        ([1, 2**31], "'input.1' : number must be at most 2147483647"),
        ([1, 1e308], "'input.1' : value must be an integer"),
        ([1.0], "'input.0' : value must be a string"),
        ([True], "'input.0' : value must be an integer"),
        ([[1], []], "'input.1' : minimum number of items is 1"),
        ([[1], "a"], "'input.1' : value must be an array"),
        ([[1], [2, -(2**63)]], "'input.1.1' : number must be at least 0"),
        ([[["a"]]], "'input.0.0' : value must be an integer"),
    ],
)
def test_an_input_of_no_known_form_is_refused_at_its_place(given: Any, message: str) -> None:
    assert refusal(input=given).message == message


@pytest.mark.parametrize(
    ("most", "one"),
    [(["a"] * MAX_INPUTS, "a"), ([[1]] * MAX_INPUTS, [1]), ([1] * MAX_TOKEN_IDS, 1)],
)
def test_more_than_2048_of_anything_are_refused(most: list[Any], one: Any) -> None:
    assert request(input=most).input == most
    assert refusal(input=[*most, one]).message == "'input' : maximum number of items is 2048"


def test_one_of_several_inputs_with_too_many_ids_is_named() -> None:
    answer = refusal(input=[[1], [1] * (MAX_TOKEN_IDS + 1)])
    assert answer.message == "'input.1' : maximum number of items is 2048"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dimensions": 256}, "property 'dimensions' is unsupported"),
        ({"dimensions": None}, "property 'dimensions' is unsupported"),
        ({"inputs": "a"}, "property 'inputs' is unsupported, did you mean 'input'?"),
        ({"truncate": "END"}, "property 'truncate' is unsupported"),
        ({"service_tier": "flex"}, "property 'service_tier' is unsupported"),
        (
            {"encoding_format": "base32"},
            "'encoding_format' : value is not one of the allowed values ['float' or 'base64']",
        ),
        ({"model": None}, "'model' : Value is not nullable"),
        ({"model": ""}, "'model' : minimum string length is 1"),
        ({"user": 7}, "'user' : value must be a string"),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields).message == message


@pytest.mark.parametrize("name", ["model", "input"])
def test_what_is_missing_is_named(name: str) -> None:
    body = embedding_body()
    del body[name]
    with pytest.raises(ApiError, match=f"property '{name}' is missing"):
        parse(CreateEmbeddingRequest, json.dumps(body).encode())


@pytest.mark.parametrize("fields", [{"user": None}, {"user": "u"}, {"encoding_format": None}])
def test_what_asks_for_nothing_special_is_taken(fields: dict[str, Any]) -> None:
    assert request(**fields).inputs == ["Once"]


@given(name=st.sampled_from(sorted(CreateEmbeddingRequest.model_fields)), value=JSON)
def test_any_json_value_in_any_field_is_taken_or_refused(name: str, value: Any) -> None:
    body = json.dumps(embedding_body(**{name: value})).encode()
    with suppress(ApiError):
        taken = parse(CreateEmbeddingRequest, body)
        assert all(isinstance(one, str | Sequence) and len(one) for one in taken.inputs)
