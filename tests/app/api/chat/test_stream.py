"""The bytes of a stream, read back by the official clients' decoders."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import groq
import groq._streaming
import httpx
import httpx2
import openai
import openai._streaming
import pytest
from groq._models import construct_type_unchecked, validate_type
from groq.types.chat import ChatCompletionChunk
from hypothesis import given
from hypothesis import strategies as st

from app.api.chat.stream import ChunkEncoder
from app.engine.base import Delta
from app.errors import overloaded
from app.sse import DONE, error_event
from tests.app.inference.stubs import REQUEST, USAGE

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def encoder(model: str = "tiny-base", *, by_function: bool = False) -> ChunkEncoder:
    return ChunkEncoder(
        id="chatcmpl-1",
        created=1_700_000_000,
        model=model,
        fingerprint="fp_1",
        request_id=REQUEST,
        by_function=by_function,
    )


def events(stream: bytes, sdk: Any = groq._streaming, size: int = 65_536) -> list[Any]:
    pieces: Iterator[bytes] = (stream[at : at + size] for at in range(0, len(stream), size))
    return list(sdk.SSEDecoder().iter_bytes(pieces))


def chunks(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in events(stream) if event.data != "[DONE]"]


SHARED = (
    b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"tiny-base","system_fingerprint":"fp_1","choices":['
)
TOOK = (
    b'{"queue_time":0.125,"prompt_tokens":7,"prompt_time":0.25,"completion_tokens":3,'
    b'"completion_time":0.5,"total_tokens":10,"total_time":0.75}'
)


def test_the_first_chunk_has_the_role_and_the_seed() -> None:
    assert encoder().first(Delta("a"), 42) == (
        b"data: " + SHARED + b'{"index":0,"delta":{"role":"assistant","content":""},'
        b'"logprobs":null,"finish_reason":null}],'
        b'"x_groq":{"id":"' + REQUEST.encode() + b'","seed":42}}\n\n'
    )


def test_a_middle_chunk_has_the_text_and_nothing_else() -> None:
    assert encoder().piece(Delta("hi")) == (
        b"data: " + SHARED + b'{"index":0,"delta":{"content":"hi"},'
        b'"logprobs":null,"finish_reason":null}]}\n\n'
    )


def test_an_empty_piece_makes_no_chunk() -> None:
    assert encoder().piece(Delta("")) == b""


def test_the_last_chunk_has_the_reason_and_the_usage_twice() -> None:
    assert encoder().last("length", USAGE, "on_demand", include_usage=False) == (
        b"data: " + SHARED + b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}],'
        b'"x_groq":{"id":"'
        + REQUEST.encode()
        + b'","usage":'
        + TOOK
        + b'},"usage":'
        + TOOK
        + b"}\n\n"
        + DONE
    )


def test_the_usage_chunk_has_no_choices_and_comes_before_done() -> None:
    *_, last, end = events(encoder().last("stop", USAGE, "on_demand", include_usage=True))
    assert end.data == "[DONE]"
    chunk = json.loads(last.data)
    assert chunk["choices"] == []
    assert chunk["usage"]["total_tokens"] == 10
    assert chunk["service_tier"] == "on_demand"


def test_cached_tokens_are_in_the_usage_when_there_are_any() -> None:
    cached = replace(USAGE, cached_tokens=4)
    chunk, *_ = chunks(encoder().last("stop", cached, "on_demand", include_usage=False))
    assert chunk["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}


@given(TEXT, TEXT.filter(bool), st.integers(1, 9))
@pytest.mark.parametrize("sdk", [groq._streaming, openai._streaming])
def test_any_text_survives_framing_however_the_bytes_are_cut(
    sdk: Any, model: str, text: str, size: int
) -> None:
    stream = encoder(model).piece(Delta(text))
    (event,) = events(stream, sdk, size)
    chunk = json.loads(event.data)
    assert chunk["choices"][0]["delta"] == {"content": text}
    assert chunk["model"] == model


@given(TEXT)
def test_no_text_can_break_a_line_for_clients_that_split_decoded_text(text: str) -> None:
    lines = encoder().piece(Delta(text)).decode().splitlines()
    assert len(lines) in (0, 2)


def test_every_chunk_is_valid_to_the_groq_sdk() -> None:
    write = encoder()
    stream = (
        write.first(Delta("a"), 1)
        + write.piece(Delta("a"))
        + write.last("stop", USAGE, "on_demand", include_usage=True)
    )
    for chunk in chunks(stream):
        validate_type(type_=ChatCompletionChunk, value=chunk)


def test_the_strict_check_of_the_sdk_would_see_a_wrong_chunk() -> None:
    chunk = {**chunks(encoder().piece(Delta("a")))[0], "created": "yesterday"}
    with pytest.raises(ValueError, match="created"):
        validate_type(type_=ChatCompletionChunk, value=chunk)
    assert construct_type_unchecked(type_=ChatCompletionChunk, value=chunk)


@pytest.mark.parametrize(("client", "http"), [(groq.Groq, httpx), (openai.OpenAI, httpx2)])
def test_an_error_event_raises_in_the_official_clients(client: Any, http: Any) -> None:
    def respond(request: Any) -> Any:
        content = encoder().first(Delta("a"), 1) + error_event(overloaded("gone"))
        return http.Response(200, headers={"content-type": "text/event-stream"}, content=content)

    transport = http.Client(transport=http.MockTransport(respond))
    with client(api_key="k", base_url="http://api.test", http_client=transport) as sdk:
        stream = sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert next(stream).choices[0].delta.role == "assistant"
        with pytest.raises((groq.APIError, openai.APIError), match="gone"):
            next(stream)
