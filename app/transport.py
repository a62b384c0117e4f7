"""Answering over a connection that may go away: abort what nobody waits for any more."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.errors import ApiError

T = TypeVar("T")

SEND_SECONDS = 60.0
"""How long a client may leave sent bytes unread before it counts as gone."""

STREAM_SECONDS = 120.0
"""The same for all of a stream's pieces together: a slow reader holds its adapter's turn."""


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`, but cancel it, and wait for its end, when the client goes away.

    The request's body must have been read. **Raises:** ClientDisconnect, and what `work` raises.
    """
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class ChunkedStream(Response):
    """Sends pieces as they are made; `pieces` is closed at the end, at an error, on disconnect.

    Pieces that end with an ApiError leave the body without its end, which tells the client that it
    is not whole; whoever makes them logs why.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], *, media_type: str) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type=media_type)
        del self.headers["content-length"]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._pieces):
            with suppress(ClientDisconnect, ApiError):
                await unless_disconnected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        left = await _deliver(send, start, STREAM_SECONDS)
        async for piece in self._pieces:
            if piece:
                body = {"type": "http.response.body", "body": piece, "more_body": True}
                left = await _deliver(send, body, left)
        await _deliver(send, {"type": "http.response.body", "body": b"", "more_body": False}, left)


class EventStream(ChunkedStream):
    """Sends server-sent events; an error is one of them."""

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        super().__init__(frames, media_type="text/event-stream")


async def _deliver(send: Send, message: Message, left: float) -> float:
    """Send within the seconds that are left, and return how many are left then."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(min(SEND_SECONDS, left)):
            await send(message)
    except (OSError, TimeoutError):
        raise ClientDisconnect from None
    return left - (time.monotonic() - begun)
