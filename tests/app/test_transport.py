"""What happens to work and to streams when the client goes away."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message

from app import transport
from app.errors import internal_error
from app.transport import ChunkedStream, EventStream, unless_disconnected

SCOPE = {"type": "http"}


class Wire:
    """Both ends of a connection; `hang_up` is what a client does that has seen enough."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.sending = asyncio.Event()
        self.gone = asyncio.Event()

    async def receive(self) -> Message:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.sending.set()

    def hang_up(self) -> None:
        self.gone.set()


@pytest.fixture
def wire() -> Wire:
    return Wire()


async def test_work_that_ends_first_gives_its_result(wire: Wire) -> None:
    assert await unless_disconnected(wire.receive, asyncio.sleep(0, "done")) == "done"


async def test_what_work_raises_is_raised(wire: Wire) -> None:
    async def fail() -> None:
        raise LookupError("why")

    with pytest.raises(LookupError, match="why"):
        await unless_disconnected(wire.receive, fail())


async def test_work_is_cancelled_when_the_client_leaves(wire: Wire) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            wire.hang_up()
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientDisconnect):
        await unless_disconnected(wire.receive, work())
    assert ended.is_set()


async def test_cancelling_the_wait_cancels_the_work(wire: Wire) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.ensure_future(unless_disconnected(wire.receive, work()))
    await started.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_a_stream_is_sent_whole_and_closed(wire: Wire) -> None:
    async def frames() -> AsyncGenerator[bytes, None]:
        yield b"a"
        yield b""
        yield b"b"

    await EventStream(frames())(SCOPE, wire.receive, wire.send)
    start, *bodies = wire.sent
    headers = dict(start["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in headers
    assert [body["body"] for body in bodies] == [b"a", b"b", b""]
    assert [body["more_body"] for body in bodies] == [True, True, False]


async def test_pieces_are_sent_under_their_media_type(wire: Wire) -> None:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"RIFF"

    stream = ChunkedStream(pieces(), media_type="audio/wav")
    await stream(SCOPE, wire.receive, wire.send)
    headers = dict(wire.sent[0]["headers"])
    assert headers[b"content-type"] == b"audio/wav"
    assert headers[b"x-accel-buffering"] == b"no"
    assert b"content-length" not in headers
    assert wire.sent[-1]["more_body"] is False


async def test_pieces_that_end_with_an_error_leave_the_body_without_its_end(wire: Wire) -> None:
    closed = asyncio.Event()

    async def pieces() -> AsyncGenerator[bytes, None]:
        try:
            yield b"RIFF"
            raise internal_error()
        finally:
            closed.set()

    stream = ChunkedStream(pieces(), media_type="audio/wav")
    await stream(SCOPE, wire.receive, wire.send)
    assert closed.is_set()
    assert [message.get("more_body") for message in wire.sent] == [None, True]


async def test_a_stream_is_closed_while_it_waits_for_its_next_frame(wire: Wire) -> None:
    closed = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            await asyncio.Event().wait()
        finally:
            closed.set()

    answering = asyncio.ensure_future(EventStream(frames())(SCOPE, wire.receive, wire.send))
    await wire.sending.wait()
    wire.hang_up()
    await answering
    assert closed.is_set()


async def test_a_stream_is_closed_while_a_slow_reader_holds_it_up(wire: Wire) -> None:
    closed, blocked = asyncio.Event(), asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
        finally:
            closed.set()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            blocked.set()
            await asyncio.Event().wait()

    answering = asyncio.ensure_future(EventStream(frames())(SCOPE, wire.receive, send))
    await blocked.wait()
    wire.hang_up()
    await answering
    assert closed.is_set()


async def test_a_send_that_fails_means_that_the_client_left(wire: Wire) -> None:
    closed = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.set()

    async def send(message: Message) -> None:
        if message.get("body"):
            raise OSError("broken pipe")

    await EventStream(frames())(SCOPE, wire.receive, send)
    assert closed.is_set()


async def test_a_reader_who_takes_nothing_for_long_counts_as_gone(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "SEND_SECONDS", 0.01)
    closed = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield b"a"
        finally:
            closed.set()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    await asyncio.wait_for(EventStream(frames())(SCOPE, wire.receive, send), 10)
    assert closed.is_set()


async def test_a_reader_who_takes_every_piece_late_counts_as_gone_in_the_end(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "STREAM_SECONDS", 0.05)
    sent: list[bytes] = []
    closed = asyncio.Event()

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"a"
        finally:
            closed.set()

    async def send(message: Message) -> None:
        await asyncio.sleep(0.005)
        sent.append(message.get("body", b""))

    await asyncio.wait_for(EventStream(frames())(SCOPE, wire.receive, send), 10)
    assert closed.is_set()
    assert 1 < len(sent) <= 11
