"""Stopping without cutting anybody off: running requests get a deadline, then an honest end.

At the deadline a request without an answer gets a 503, and a stream gets an `error` event, since a
stream that just ends looks complete. A start that is not over has nobody to answer, and ends at
once.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import overloaded


class Stopping(Exception):
    """The server stops soon."""


class Drain:
    """The deadline that all running requests share once a stop has begun."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._deadline: float | None = None
        self._running: set[asyncio.Timeout] = set()
        self._start: asyncio.Timeout | None = None
        self.is_asked_for = False
        """Whether the server itself cannot go on, and is to stop as if it were told to."""
        self.is_announced = False
        """Whether it stops soon: balancers are to send no more requests, those that come run."""

    def ask_for(self) -> None:
        """Have the server stop by itself, soon."""
        self.is_asked_for = True

    def announce(self) -> None:
        """Have readiness fail from now on."""
        self.is_announced = True

    async def check(self) -> None:
        """Return while the server is to go on. **Raises:** Stopping."""
        if self.is_announced:
            raise Stopping

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Let `cut_start` end what opens the server. **Raises:** Stopping, where it did."""
        try:
            async with asyncio.timeout(None) as self._start:
                yield
        except TimeoutError:
            if self._start is not None and self._start.expired():
                raise Stopping("told to stop before the start was over") from None
            raise
        finally:
            self._start = None

    def cut_start(self) -> None:
        """Cancel a start that is going on; nothing where there is none."""
        if self._start is not None:
            self._start.reschedule(asyncio.get_running_loop().time())

    def begin(self) -> None:
        """Give every request, running or to come, until `grace_seconds` from now."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._grace_seconds
            for timeout in self._running:
                timeout.reschedule(self._deadline)

    def add(self, timeout: asyncio.Timeout) -> None:
        """Put a request, by the timeout that it runs in, under the deadline."""
        self._running.add(timeout)

    def discard(self, timeout: asyncio.Timeout) -> None:
        """Forget a finished request."""
        self._running.discard(timeout)

    @property
    def deadline(self) -> float | None:
        """Loop time of the deadline; None while the server is not stopping."""
        return self._deadline


class DrainMiddleware:
    """Ends what still runs at the drain's deadline with an error the client can see."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        timeout = asyncio.timeout_at(self._drain.deadline)
        try:
            async with timeout:
                self._drain.add(timeout)
                await self._app(scope, receive, answer.send)
        except TimeoutError:
            if not timeout.expired():
                raise
            await answer.cut_short()
        finally:
            self._drain.discard(timeout)


class _Answer:
    """Remembers how far a response has gone, to end it in the right form."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)
        await self._send(message)

    async def cut_short(self) -> None:
        error = overloaded("The server is shutting down; send the request again.")
        body = json.dumps(error.envelope()).encode()
        with suppress(OSError):
            if self._start is None:
                await self._refuse(error.status, error.headers, body)
            elif not self._complete and self._is_event_stream():
                event = b"event: error\ndata: " + body + b"\n\n"
                await self._send({"type": "http.response.body", "body": event})

    async def _refuse(self, status: int, headers: dict[str, str], body: bytes) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        await self._send({"type": "http.response.body", "body": body})

    def _is_event_stream(self) -> bool:
        assert self._start is not None
        content_type: bytes = dict(self._start["headers"]).get(b"content-type", b"")
        return content_type.startswith(b"text/event-stream")
