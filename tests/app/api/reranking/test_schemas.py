"""What a request of reranking may say."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.reranking.schemas import MAX_CHARACTERS, MAX_DOCS, RerankingRequest
from app.errors import ApiError
from app.json_document import parse
from tests.app.api.application import JSON
from tests.app.api.reranking.stubs import reranking_body


def request(**fields: Any) -> RerankingRequest:
    return parse(RerankingRequest, json.dumps(reranking_body(**fields)).encode())


def refusal(**fields: Any) -> str:
    with pytest.raises(ApiError) as caught:
        request(**fields)
    assert caught.value.status == 400
    return caught.value.message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"documents": ["a"]}, "property 'documents' is unsupported, did you mean 'docs'?"),
        ({"top_n": 1}, "property 'top_n' is unsupported"),
        ({"return_documents": True}, "property 'return_documents' is unsupported"),
        ({"max_chunks_per_doc": 1}, "property 'max_chunks_per_doc' is unsupported"),
        ({"querys": "a"}, "property 'querys' is unsupported, did you mean 'query'?"),
        ({"query": ""}, "'query' : minimum string length is 1"),
        ({"query": None}, "'query' : Value is not nullable"),
        ({"query": ["a"]}, "'query' : value must be a string"),
        ({"docs": None}, "'docs' : Value is not nullable"),
        ({"docs": "a"}, "'docs' : value must be an array"),
        ({"docs": []}, "'docs' : minimum number of items is 1"),
        ({"docs": ["a", ""]}, "'docs.1' : minimum string length is 1"),
        ({"docs": ["a", {"text": "b"}]}, "'docs.1' : value must be a string"),
        ({"docs": ["a", None]}, "'docs.1' : Value is not nullable"),
        ({"instruction": 7}, "'instruction' : value must be a string"),
        ({"model": 7}, "'model' : value must be a string"),
    ],
)
def test_what_is_not_served_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    assert refusal(**fields) == message


@pytest.mark.parametrize("name", ["model", "query", "docs"])
def test_what_is_missing_is_named(name: str) -> None:
    body = reranking_body()
    del body[name]
    with pytest.raises(ApiError, match=f"property '{name}' is missing"):
        parse(RerankingRequest, json.dumps(body).encode())


@pytest.mark.parametrize("instruction", [None, "", "Find it."])
def test_an_instruction_may_be_given_or_not(instruction: str | None) -> None:
    assert request(instruction=instruction).instruction == instruction


def test_more_than_a_hundred_documents_are_refused() -> None:
    assert len(request(docs=["a"] * MAX_DOCS).docs) == 100
    assert refusal(docs=["a"] * 101) == "'docs' : maximum number of items is 100"


def test_a_query_counts_with_each_document_that_it_is_read_with() -> None:
    half = "q" * (MAX_CHARACTERS // 2 - 1)
    assert request(query=half, docs=["a"] * 2).characters == MAX_CHARACTERS
    assert refusal(query=half, docs=["a", "bb"]).endswith("all pairs together")
    assert refusal(query="q", instruction=half, docs=["a"] * 2).endswith("all pairs together")
    assert refusal(docs=["a" * MAX_CHARACTERS]).endswith("all pairs together")


@given(name=st.sampled_from(sorted(RerankingRequest.model_fields)), value=JSON)
def test_any_json_value_in_any_field_is_taken_or_refused(name: str, value: Any) -> None:
    body = json.dumps(reranking_body(**{name: value})).encode()
    with suppress(ApiError):
        taken = parse(RerankingRequest, body)
        assert taken.query
        assert all(taken.docs)
