"""What becomes of a connection when the answer came before the request's body was read."""

import asyncio
from collections.abc import Sequence

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import unread_bodies
from app.unread_bodies import UnreadBodyMiddleware

CLOSE = (b"connection", b"close")
CHUNKED = [(b"transfer-encoding", b"chunked")]


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer at once."""
    await PlainTextResponse("too large", status_code=413)(scope, receive, send)


async def read(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body, then answer."""
    body = await Request(scope, receive).body()
    await PlainTextResponse(str(len(body)))(scope, receive, send)


class Client:
    """Sends chunks and keeps what it is sent; without an end, it sends the last one for ever."""

    def __init__(self, chunks: Sequence[bytes], *, ends: bool = True) -> None:
        self._chunks = list(chunks)
        self._ends = ends
        self.taken = 0
        self.messages: list[Message] = []

    async def receive(self) -> Message:
        if not self._chunks:
            return {"type": "http.disconnect"}
        await asyncio.sleep(0)
        chunk = self._chunks.pop(0) if self._ends else self._chunks[0]
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": bool(self._chunks)}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    async def ask(self, app: ASGIApp, headers: Sequence[tuple[bytes, bytes]] = CHUNKED) -> None:
        scope = {"type": "http", "method": "POST", "headers": headers, "path": "/"}
        await UnreadBodyMiddleware(app)(scope, self.receive, self.send)

    @property
    def is_closed(self) -> bool:
        return CLOSE in self.messages[0]["headers"]

    @property
    def body(self) -> bytes:
        assert [each.get("more_body", False) for each in self.messages[1:]][-1] is False
        return b"".join(each.get("body", b"") for each in self.messages[1:])


async def test_a_body_that_was_read_leaves_the_connection_open() -> None:
    client = Client([b"a", b"b"])
    await client.ask(read)

    assert client.body == b"2"
    assert not client.is_closed


async def test_a_body_that_was_not_read_is_thrown_away_behind_the_whole_answer() -> None:
    client = Client([b"a"] * 100)
    await client.ask(refuse)

    assert client.body == b"too large"
    assert client.is_closed
    assert client.taken == 100


async def test_a_body_without_end_is_given_up_after_some_bytes() -> None:
    client = Client([b"a" * (1 << 20)], ends=False)
    await client.ask(refuse)

    assert client.body == b"too large"
    assert client.taken == unread_bodies.LINGER_BYTES


async def test_a_client_that_says_no_more_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unread_bodies, "LINGER_SECONDS", 0.01)
    client = Client([b"a"])

    async def silent() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    client.receive = silent  # type: ignore[method-assign]
    await client.ask(refuse)

    assert client.body == b"too large"


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
async def test_a_request_without_a_body_leaves_the_connection_open(
    headers: list[tuple[bytes, bytes]],
) -> None:
    client = Client([])
    await client.ask(refuse, headers)

    assert not client.is_closed
