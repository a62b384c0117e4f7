"""The way back: another pool's answer goes to our client piece by piece, as it comes.

A connection that is lost on the way must not look like the end of an answer: a stream of events
ends with an `error` event behind its last whole one, any other body stays unfinished.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import cast

import httpx

from app.errors import unavailable
from app.pools.headers import passed_on
from app.sse import error_event
from app.transport import ChunkedStream

FRAME_END = b"\n\n"


class Relay(ChunkedStream):
    """Sends an answer on, with its status and headers. `on_broken` is told of a lost connection."""

    def __init__(self, answer: httpx.Response, on_broken: Callable[[Exception], None]) -> None:
        super().__init__(_pieces(answer, on_broken), media_type="application/octet-stream")
        self.status_code = answer.status_code
        self.raw_headers = passed_on(answer.headers.raw)


async def _pieces(
    answer: httpx.Response, on_broken: Callable[[Exception], None]
) -> AsyncGenerator[bytes, None]:
    """**Raises:** ApiError, where the answer breaks off and no event can say so."""
    is_events, held = _has_events(answer), b""
    chunks = cast(AsyncGenerator[bytes, None], answer.aiter_raw())
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                if is_events:
                    chunk, held = whole_frames(held + chunk)
                yield chunk
    except httpx.TransportError as error:
        on_broken(error)
        if not is_events:
            raise unavailable() from error
        held = error_event(unavailable())
    yield held


def whole_frames(events: bytes) -> tuple[bytes, bytes]:
    """Split events behind the last whole one; no client can use a part before the rest is there."""
    end = events.rfind(FRAME_END)
    cut = 0 if end < 0 else end + len(FRAME_END)
    return events[:cut], events[cut:]


def _has_events(answer: httpx.Response) -> bool:
    kind = answer.headers.get("content-type", "")
    return kind.startswith("text/event-stream") and "content-encoding" not in answer.headers
