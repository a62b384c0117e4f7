"""How the body of a request is read: its bytes are bounded, and it keeps nobody waiting."""

from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import error_handlers
from app.json_body import JsonBody, json_body
from tests.stopwatch import cpu_time

LIMIT = 1_000


class Anything(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    value: Any = None


@pytest.fixture
def app() -> ASGIApp:
    api = FastAPI()
    error_handlers.register(api)

    @api.post("/echo")
    async def echo(body: Annotated[Anything, json_body(Anything)]) -> Anything:
        return body

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {"body_limit_bytes": LIMIT}
        await api(scope, receive, send)

    return with_state


async def post(app: ASGIApp, **request: Any) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.test") as client:
        return await client.post("/echo", **request)


def sized(size: int) -> bytes:
    return b'{"value": "' + b"a" * (size - 13) + b'"}'


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
async def test_the_body_is_json_whatever_its_content_type_says(
    app: ASGIApp, content_type: str
) -> None:
    response = await post(app, content=b'{"value": 1}', headers={"content-type": content_type})
    assert response.json() == {"value": 1}


async def test_a_body_of_exactly_the_limit_is_taken(app: ASGIApp) -> None:
    assert (await post(app, content=sized(LIMIT))).status_code == 200


async def test_a_declared_length_over_the_limit_is_refused_unread(app: ASGIApp) -> None:
    response = await post(app, content=b"{}", headers={"content-length": str(LIMIT + 1)})
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "request_too_large"


async def test_bytes_are_counted_when_no_length_is_declared(app: ASGIApp) -> None:
    async def chunks() -> Any:
        yield sized(LIMIT)
        yield b" "

    assert (await post(app, content=chunks())).status_code == 413


@pytest.mark.parametrize("length", ["nonsense", "-1", "9" * 5_000])
async def test_a_senseless_declared_length_makes_no_server_error(app: ASGIApp, length: str) -> None:
    response = await post(app, content=b"{}", headers={"content-length": length})
    assert response.status_code in (200, 413)


@pytest.mark.parametrize("count", [10, 120_000])
async def test_reading_a_large_body_takes_no_time_of_other_requests(count: int) -> None:
    body = b'{"value": [' + b"[1]," * count + b"0]}"

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    scope: Scope = {"type": "http", "headers": [], "state": {"body_limit_bytes": len(body)}}
    with cpu_time() as in_loop:
        read = await JsonBody(Anything, b"")(Request(scope, receive))
    assert len(read.value) == count + 1
    assert in_loop.seconds < 0.02
