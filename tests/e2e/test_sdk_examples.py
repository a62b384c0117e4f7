"""What the README files of the Groq and OpenAI Python SDKs show, with only URL and key changed."""

import asyncio
import json
import socket
from typing import Any

import groq
import httpx
import httpx2
import openai
import pytest

from tests.fixtures.server import SMOLLM2, Server

pytestmark = pytest.mark.engine

SDK = Any
QUESTION: dict[str, Any] = {
    "model": SMOLLM2,
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Why do people like fast language models?"},
    ],
    "temperature": 0,
    "max_completion_tokens": 16,
}


def clients(sdk: SDK, server: Server, key: str, **options: Any) -> tuple[Any, Any]:
    """Return a client and an asynchronous client of this SDK."""
    if sdk is groq:
        at = {"base_url": server.url, "api_key": key, **options}
        return groq.Groq(**at), groq.AsyncGroq(**at)
    at = {"base_url": f"{server.url}/openai/v1", "api_key": key, **options}
    return openai.OpenAI(**at), openai.AsyncOpenAI(**at)


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return server.key("sdk-examples")


@pytest.fixture(params=[groq, openai], ids=["groq", "openai"])
def sdk(request: pytest.FixtureRequest) -> SDK:
    return request.param


@pytest.fixture
def client(sdk: SDK, server: Server, key: str) -> Any:
    return clients(sdk, server, key)[0]


@pytest.fixture
def async_client(sdk: SDK, server: Server, key: str) -> Any:
    return clients(sdk, server, key)[1]


@pytest.fixture
def answer(client: Any) -> str:
    content: str = client.chat.completions.create(**QUESTION).choices[0].message.content
    return content


def test_a_chat_completion_is_a_typed_object(client: Any) -> None:
    with client:
        completion = client.chat.completions.create(**QUESTION)

    assert completion.choices[0].message.content
    assert completion.to_dict()["object"] == "chat.completion"
    assert json.loads(completion.to_json())["id"] == completion.id


async def test_the_async_client_gets_the_same_answer(async_client: Any, answer: str) -> None:
    async with async_client:
        completion = await async_client.chat.completions.create(**QUESTION)

    assert completion.choices[0].message.content == answer


async def test_an_async_client_asks_many_questions_at_once(async_client: Any, answer: str) -> None:
    async with async_client:
        asked = (async_client.chat.completions.create(**QUESTION) for _ in range(4))
        completions = await asyncio.gather(*asked)

    assert {completion.choices[0].message.content for completion in completions} == {answer}
    assert len({completion.id for completion in completions}) == 4


def test_a_stream_is_read_chunk_by_chunk(client: Any, answer: str) -> None:
    with client, client.chat.completions.create(**QUESTION, stream=True) as stream:
        chunks = list(stream)

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answer
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in {"stop", "length"}


async def test_a_stream_is_read_asynchronously(async_client: Any, answer: str) -> None:
    async with async_client:
        stream = await async_client.chat.completions.create(**QUESTION, stream=True)
        chunks = [chunk async for chunk in stream]

    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == answer


def test_the_raw_response_has_headers_and_parses_to_the_object(client: Any, answer: str) -> None:
    with client:
        response = client.chat.completions.with_raw_response.create(**QUESTION)

    assert response.headers.get("x-request-id", "").startswith("req_")
    assert response.parse().choices[0].message.content == answer


def test_a_streaming_response_is_read_line_by_line(client: Any) -> None:
    create = client.chat.completions.with_streaming_response.create
    with client, create(**QUESTION, stream=True) as response:
        lines = [line for line in response.iter_lines() if line]

    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"


def test_missing_and_null_fields_are_told_apart(client: Any) -> None:
    with client:
        completion = client.chat.completions.create(**QUESTION)

    assert completion.choices[0].logprobs is None
    assert "choices" in completion.model_fields_set


def test_an_undocumented_property_can_be_read(client: Any) -> None:
    with client:
        completion = client.chat.completions.create(**QUESTION)

    x_groq = completion.to_dict()["x_groq"]
    assert str(x_groq["id"]).startswith("req_")


def test_an_undocumented_endpoint_can_be_called(client: Any, sdk: SDK) -> None:
    path, response_type = ("/models", httpx2.Response)
    if sdk is groq:
        path, response_type = ("/openai/v1/models", httpx.Response)
    with client:
        response = client.get(path, cast_to=response_type)

    assert SMOLLM2 in {model["id"] for model in response.json()["data"]}


def test_the_models_are_listed(client: Any) -> None:
    with client:
        assert SMOLLM2 in {model.id for model in client.models.list().data}


def test_the_openai_client_knows_the_request_id(server: Server, key: str) -> None:
    with clients(openai, server, key)[0] as client:
        completion = client.chat.completions.create(**QUESTION)

    assert completion._request_id.startswith("req_")


WRONG: list[tuple[str, dict[str, Any], int, str]] = [
    ("BadRequestError", {"temperature": 9}, 400, "invalid_request_error"),
    ("BadRequestError", {"messages": []}, 400, "invalid_request_error"),
    ("NotFoundError", {"model": "no-such-model"}, 404, "invalid_request_error"),
]


@pytest.mark.parametrize(("name", "change", "status", "kind"), WRONG)
def test_a_wrong_request_raises_the_sdks_own_error(
    client: Any, sdk: SDK, name: str, change: dict[str, Any], status: int, kind: str
) -> None:
    with client, pytest.raises(getattr(sdk, name)) as caught:
        client.chat.completions.create(**{**QUESTION, **change})

    assert isinstance(caught.value, sdk.APIStatusError)
    assert caught.value.status_code == status
    assert caught.value.response.json()["error"]["type"] == kind
    assert caught.value.response.headers["x-request-id"]


def test_a_wrong_key_raises_an_authentication_error(server: Server, sdk: SDK) -> None:
    with clients(sdk, server, "sk-wrong")[0] as client, pytest.raises(sdk.AuthenticationError):
        client.chat.completions.create(**QUESTION)


def test_a_server_that_is_not_there_raises_a_connection_error(
    server: Server, key: str, sdk: SDK
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        client, _ = clients(sdk, server, key, max_retries=0)
        with client, pytest.raises(sdk.APIConnectionError) as caught:
            client.with_options(base_url=url).chat.completions.create(**QUESTION)

    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("retries", [0, 2])
def test_a_timeout_is_tried_again_as_often_as_asked(
    server: Server, key: str, sdk: SDK, retries: int
) -> None:
    with clients(sdk, server, key)[0] as client:
        hasty = client.with_options(timeout=0.001, max_retries=retries)
        with pytest.raises(sdk.APITimeoutError):
            hasty.chat.completions.create(**QUESTION)

        assert hasty.with_options(timeout=60.0).chat.completions.create(**QUESTION).choices


def test_each_part_of_a_timeout_can_be_set(server: Server, key: str, sdk: SDK) -> None:
    timeout_type = httpx.Timeout if sdk is groq else httpx2.Timeout
    timeout = timeout_type(60.0, read=30.0, write=10.0, connect=2.0)
    with clients(sdk, server, key, timeout=timeout)[0] as client:
        assert client.chat.completions.create(**QUESTION).choices[0].message.content


def test_no_retry_hides_a_refusal(server: Server, key: str, sdk: SDK) -> None:
    with clients(sdk, server, key, max_retries=0)[0] as client:
        with pytest.raises(sdk.NotFoundError):
            client.chat.completions.create(**{**QUESTION, "model": "no-such-model"})
        assert client.max_retries == 0
