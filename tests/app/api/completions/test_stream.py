"""The bytes of a stream, read back by the official client's decoder."""

import json
from dataclasses import replace
from typing import Any

import openai._streaming
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._models import validate_type
from openai.types import Completion

from app.api.completions.stream import About, ChunkEncoder
from app.engine.base import Delta
from app.sse import DONE
from tests.app.api.completions.stubs import chunks_of, token
from tests.app.inference.stubs import REQUEST, USAGE

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
ABOUT = About("cmpl-1", 1_700_000_000, "tiny-base", "fp_1", REQUEST, "on_demand", False)
END = Delta(finish_reason="stop", usage=USAGE)
SHARED = (
    b'data: {"id":"cmpl-1","object":"text_completion","created":1700000000,'
    b'"model":"tiny-base","system_fingerprint":"fp_1","choices":['
)
TOOK = (
    b'{"queue_time":0.125,"prompt_tokens":7,"prompt_time":0.25,"completion_tokens":3,'
    b'"completion_time":0.5,"total_tokens":10,"total_time":0.75}'
)


def encoder(choices: int = 1, **about: Any) -> ChunkEncoder:
    return ChunkEncoder(replace(ABOUT, **about), choices=choices)


def test_the_first_chunk_has_the_seed() -> None:
    assert encoder().opening(42) == (
        SHARED + b'{"text":"","index":0,"logprobs":null,"finish_reason":null}],'
        b'"x_groq":{"id":"' + REQUEST.encode() + b'","seed":42}}\n\n'
    )


def test_a_middle_chunk_has_the_text_and_the_choice_it_belongs_to() -> None:
    assert encoder(12).chunks(11, Delta("hi")) == (
        SHARED + b'{"text":"hi","index":11,"logprobs":null,"finish_reason":null}]}\n\n'
    )


def test_an_empty_piece_makes_no_chunk() -> None:
    assert encoder().chunks(0, Delta()) == b""


def test_a_choice_ends_while_others_go_on() -> None:
    assert encoder(2).chunks(1, replace(END, finish_reason="length")) == (
        SHARED + b'{"text":"","index":1,"logprobs":null,"finish_reason":"length"}]}\n\n'
    )


def test_the_last_chunk_of_all_has_the_reason_and_the_usage_twice() -> None:
    assert encoder().chunks(0, END) == (
        SHARED + b'{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}],'
        b'"x_groq":{"id":"'
        + REQUEST.encode()
        + b'","usage":'
        + TOOK
        + b'},"usage":'
        + TOOK
        + b"}\n\n"
        + DONE
    )


def test_the_usage_is_that_of_all_choices() -> None:
    write = encoder(2, include_usage=True)
    stream = write.chunks(1, END) + write.chunks(
        0, replace(END, usage=replace(USAGE, cached_tokens=4))
    )
    _, last, extra = chunks_of(stream)
    assert extra["choices"] == []
    assert extra["service_tier"] == "on_demand"
    assert last["usage"] == extra["usage"] == last["x_groq"]["usage"]
    assert last["usage"]["total_tokens"] == 20
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


def test_offsets_go_on_from_chunk_to_chunk_of_one_choice() -> None:
    write = encoder(2)
    stream = write.chunks(0, Delta("ab", logprobs=[token("ab")]))
    stream += write.chunks(1, Delta("x", logprobs=[token("x")]))
    stream += write.chunks(0, Delta("cd", logprobs=[token("c"), token("d")]))
    offsets = [chunk["choices"][0]["logprobs"]["text_offset"] for chunk in chunks_of(stream + DONE)]
    assert offsets == [[0], [0], [2, 3]]


@given(TEXT, TEXT.filter(bool), st.integers(1, 9))
def test_any_text_survives_framing_however_the_bytes_are_cut(
    model: str, text: str, size: int
) -> None:
    stream = encoder(model=model).chunks(0, Delta(text))
    pieces = (stream[at : at + size] for at in range(0, len(stream), size))
    (event,) = openai._streaming.SSEDecoder().iter_bytes(pieces)
    chunk = json.loads(event.data)
    assert (chunk["choices"][0]["text"], chunk["model"]) == (text, model)


@given(TEXT)
def test_no_text_or_token_can_break_a_line_for_clients_that_split_decoded_text(text: str) -> None:
    for delta in (Delta(text), Delta(text, logprobs=[token(text)])):
        assert len(encoder().chunks(0, delta).decode().splitlines()) in (0, 2)


@pytest.mark.parametrize("include_usage", [False, True])
def test_every_chunk_is_valid_to_the_sdk_but_for_the_reason_that_is_not_there_yet(
    include_usage: bool,
) -> None:
    write = encoder(include_usage=include_usage)
    stream = write.opening(1) + write.chunks(0, Delta("a", logprobs=[token("a")]))
    for chunk in chunks_of(stream + write.chunks(0, END)):
        for choice in chunk["choices"]:
            # The type says that each chunk has one; OpenAI's own chunks have none either.
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        validate_type(type_=Completion, value=chunk)
