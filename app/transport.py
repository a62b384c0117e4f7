"""Answering over a connection that may go away: abort what nobody waits for any more."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

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


class EventStream(Response):
    """Sends server-sent events; `frames` is closed at the end, at an error and on disconnect."""

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(headers=headers, media_type="text/event-stream")
        del self.headers["content-length"]
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._frames):
            with suppress(ClientDisconnect):
                await unless_disconnected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        left = await _deliver(send, start, STREAM_SECONDS)
        async for frame in self._frames:
            if frame:
                body = {"type": "http.response.body", "body": frame, "more_body": True}
                left = await _deliver(send, body, left)
        await _deliver(send, {"type": "http.response.body", "body": b"", "more_body": False}, left)


async def _deliver(send: Send, message: Message, left: float) -> float:
    """Send within the seconds that are left, and return how many are left then."""
    begun = time.monotonic()
    try:
        async with asyncio.timeout(min(SEND_SECONDS, left)):
            await send(message)
    except (OSError, TimeoutError):
        raise ClientDisconnect from None
    return left - (time.monotonic() - begun)
