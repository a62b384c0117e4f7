"""Groq's schemas are translated as they are meant, and every answer is checked against its own."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import jsonschema
import pytest
from fastapi import FastAPI, Response
from starlette.responses import StreamingResponse

from tests.contract.groq_schema import (
    CONTRACT,
    DEVIATIONS,
    Deviation,
    broken,
    expected,
    json_schema,
    specification,
    violations,
)
from tests.contract.groq_watch import WATCH, Watch

with_contract = pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not here")

JSON = "application/json"
SSE = "text/event-stream"
FILE = {
    **{"id": "file_1", "object": "file", "bytes": 1, "created_at": 1},
    **{"filename": "a.jsonl", "purpose": "batch"},
}
CHUNK = {
    **{"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"},
    "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}],
}
BAD_CHUNK = {**CHUNK, "created": "now"}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    return jsonschema.Draft202012Validator(json_schema(schema)).is_valid(value)


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "nullable": True}, [None, "a"], [1]),
        ({"type": "string", "nullable": False}, ["a"], [None]),
        ({"type": "string", "enum": ["a"], "nullable": True}, [None, "a"], ["b"]),
        ({"oneOf": [{"type": "string"}], "nullable": True}, [None, "a"], [1]),
        ({"type": "array", "items": {"type": "integer", "nullable": True}}, [[None, 1]], [["a"]]),
        ({"properties": {"type": {"enum": ["a"]}}}, [{"type": "a"}, {}], [{"type": "b"}]),
        ({"type": "object", "additionalProperties": False}, [{}], [{"a": 1}]),
        ({"allOf": [{"type": "string", "maxLength": 1}]}, ["a"], ["ab"]),
        ({"type": "number", "format": "float", "default": 1, "x-y": 0}, [1, 1.5], ["1"]),
    ],
)
def test_a_schema_of_openapi_3_0_takes_what_it_means(
    schema: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    assert [accepts(schema, value) for value in good] == [True] * len(good)
    assert [accepts(schema, value) for value in bad] == [False] * len(bad)


@with_contract
def test_every_schema_of_the_contract_is_a_json_schema() -> None:
    for schema in specification()["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(json_schema(schema))


@with_contract
@pytest.mark.parametrize("row", DEVIATIONS, ids=lambda row: f"{row.schema}.{row.place}")
def test_every_decided_deviation_is_still_one(row: Deviation) -> None:
    found = broken(row.schema, row.example)
    assert [(place, keyword) for place, keyword, _ in found] == [(row.place, row.keyword)]
    assert violations(row.schema, row.example) == []
    assert row.reason


def schemas_of(
    path: str, *, method: str = "GET", status: int = 200, body: bytes = b"{}"
) -> list[str]:
    return [found.schema for found in expected(method, path, status, JSON, body)]


@with_contract
@pytest.mark.parametrize(
    ("method", "path", "schema"),
    [
        ("POST", "/openai/v1/chat/completions", "CreateChatCompletionResponse"),
        ("POST", "/v1/chat/completions", "CreateChatCompletionResponse"),
        ("POST", "/openai/v1/responses", "CreateResponseResponse"),
        ("GET", "/v1/files", "ListFilesResponse"),
        ("GET", "/v1/files/file_1", "File"),
        ("DELETE", "/openai/v1/models/ft:base:org_1/name-ab12", "DeleteModelResponse"),
        ("GET", "/v1/fine_tunings/ft_1", "ReadFineTuningResponse"),
        ("GET", "/openai/v1/fine_tunings", "ListFineTuningsResponse"),
        ("POST", "/v1/batches/batch_1/cancel", "Batch"),
    ],
)
def test_an_answer_has_the_schema_of_its_operation(method: str, path: str, schema: str) -> None:
    assert schemas_of(path, method=method) == [schema]


@with_contract
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/openai/v1/nothing"])
def test_every_refusal_has_the_schema_of_errors(path: str) -> None:
    assert schemas_of(path, status=404) == ["ErrorResponse"]


@with_contract
@pytest.mark.parametrize("path", ["/health/ready", "/v1/fine_tunings/ft_1/pin", "/v1/completions"])
def test_what_groq_does_not_have_is_not_checked(path: str) -> None:
    assert schemas_of(path, method="POST") == []


@with_contract
def test_every_whole_event_of_a_stream_has_a_schema() -> None:
    chunk = f"data: {json.dumps(CHUNK)}\n\n".encode()
    error = b'event: error\ndata: {"error": {"message": "m", "type": "t"}}\n\n'
    body = chunk + error + b"data: [DONE]\n\n" + chunk[:20]
    found = [one.schema for one in expected("POST", "/v1/chat/completions", 200, SSE, body)]
    assert found == ["CreateChatCompletionStreamResponse", "ErrorResponse"]

    body = b'event: x\ndata: {"type": "x", "response": {}}\n\ndata: {"type": "y", "item": {}}\n\n'
    found = [one.schema for one in expected("POST", "/v1/responses", 200, SSE, body)]
    assert found == ["CreateResponseResponse", "ResponseOutputItem"]


def api() -> FastAPI:
    """Answers of a file, good and bad, and a stream whose second chunk is bad."""
    app = FastAPI(openapi_url=None)

    @app.get("/v1/files/{name}")
    async def file(name: str) -> Response:
        document = FILE if name == "good" else {**FILE, "bytes": "many"}
        return Response(json.dumps(document), media_type=JSON)

    @app.post("/v1/chat/completions")
    async def chat() -> Response:
        async def frames() -> AsyncIterator[bytes]:
            for chunk in (CHUNK, BAD_CHUNK):
                yield f"data: {json.dumps(chunk)}\n\n".encode()

        return StreamingResponse(frames(), media_type=SSE)

    return app


def clients() -> list[Any]:
    url = "http://api.invalid"
    return [
        httpx.AsyncClient(transport=httpx.ASGITransport(api()), base_url=url),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(api()), base_url=url),
    ]


@with_contract
@pytest.mark.parametrize("client", clients(), ids=["httpx", "httpx2"])
async def test_an_answer_that_breaks_its_schema_is_found(client: Any) -> None:
    watch = Watch(everywhere=True)
    watch.take(await client.get("/v1/files/good"))
    assert watch.checked == {"File": 1}
    watch.raise_if_wrong()

    watch.take(await client.get("/v1/files/bad"))
    with pytest.raises(pytest.fail.Exception, match="File at 'bytes'"):
        watch.raise_if_wrong()
    watch.raise_if_wrong()


@with_contract
@pytest.mark.parametrize("client", clients(), ids=["httpx", "httpx2"])
async def test_a_stream_is_checked_when_it_has_been_read_and_arrives_untouched(client: Any) -> None:
    watch = Watch(everywhere=True)
    async with client.stream("POST", "/v1/chat/completions") as response:
        watch.take(response)
        assert not watch.checked
        lines = [line async for line in response.aiter_lines() if line]

    assert [json.loads(line.removeprefix("data: ")) for line in lines] == [CHUNK, BAD_CHUNK]
    assert watch.checked == {"CreateChatCompletionStreamResponse": 2}
    assert len(watch.wrong) == 1


@with_contract
@pytest.mark.parametrize("client", clients(), ids=["httpx", "httpx2"])
async def test_a_stream_that_is_left_is_checked_as_far_as_it_was_read(client: Any) -> None:
    watch = Watch(everywhere=True)
    async with client.stream("POST", "/v1/chat/completions") as response:
        watch.take(response)
        async for _ in response.aiter_raw():
            break

    assert sum(watch.checked.values()) in (1, 2)


@with_contract
@pytest.mark.parametrize("package", [httpx, httpx2])
def test_a_stream_of_a_client_without_a_loop_is_checked_too(package: Any) -> None:
    body = f"data: {json.dumps(BAD_CHUNK)}\n\n".encode()
    headers = {"content-type": SSE}
    transport = package.MockTransport(
        lambda request: package.Response(200, headers=headers, stream=package.ByteStream(body))
    )
    watch = Watch(everywhere=True)
    with (
        package.Client(transport=transport, base_url="http://api.invalid") as client,
        client.stream("POST", "/v1/chat/completions") as response,
    ):
        watch.take(response)
        assert response.read() == body
    assert len(watch.wrong) == 1


@with_contract
@pytest.mark.parametrize("package", [httpx, httpx2])
async def test_all_clients_of_all_tests_are_watched(package: Any) -> None:
    before = WATCH.checked["File"]
    url = "http://api.test"
    async with package.AsyncClient(transport=package.ASGITransport(api()), base_url=url) as client:
        await client.get("/v1/files/good")
    transport = package.MockTransport(lambda request: package.Response(200, json=FILE))
    with package.Client(transport=transport, base_url=url) as client:
        client.get("/v1/files/good")
    assert WATCH.checked["File"] == before + 2
