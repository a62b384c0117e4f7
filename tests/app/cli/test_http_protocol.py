"""The parser takes ordinary requests and refuses endless headers, on a real socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from app.cli.http_protocol import MAX_HEAD_BYTES, BoundedHttpProtocol

REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\n"


async def echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = str(size).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(
        echo_length, port=0, http=BoundedHttpProtocol, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


async def exchange(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)
    finally:
        writer.close()


async def test_a_long_body_is_no_long_head(port: int) -> None:
    size = 4 * MAX_HEAD_BYTES
    head = REQUEST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % size

    answer = await exchange(port, head, b"x" * size)

    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(str(size).encode())


async def test_many_requests_on_one_connection_are_counted_apart(port: int) -> None:
    filler = b"x-filler: " + b"y" * (MAX_HEAD_BYTES // 2) + b"\r\n"
    keep = REQUEST + filler + b"content-length: 0\r\n\r\n"
    last = REQUEST + filler + b"connection: close\r\ncontent-length: 0\r\n\r\n"

    answer = await exchange(port, keep, keep, keep, last)

    assert answer.count(b"HTTP/1.1 200") == 4


async def test_an_endless_head_is_refused(port: int) -> None:
    filler = (b"x-a: " + b"y" * 1000 + b"\r\n") * 80

    answer = await exchange(port, REQUEST, filler)

    assert answer.startswith(b"HTTP/1.1 431")
