"""One inference resource in an application of its own; a client that can hang up; any JSON."""

import asyncio
import json
from typing import Any

from fastapi import APIRouter, FastAPI
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import dependencies, error_handlers
from app.auth.authenticator import Caller
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from tests.app.inference.stubs import ORG

BODY_LIMIT = 256 * 1024

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON value, and the numbers that Python's writer lets through besides."""


def application(router: APIRouter, **services: object) -> ASGIApp:
    """Serve a router under `/openai/v1`, to one caller, with these services in its state."""
    api = FastAPI(openapi_url=None)
    error_handlers.register(api)
    api.include_router(router, prefix="/openai/v1")
    api.dependency_overrides[dependencies.caller] = lambda: Caller(ORG, "key_1")
    observed = ObservabilityMiddleware(api, Metrics())

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"] = {**services, "body_limit_bytes": BODY_LIMIT}
        await observed(scope, receive, send)

    return with_state


class Client:
    """Sends one body and hangs up when it likes; drives the application itself.

    Where `reads` is given, it takes no more than one piece of the answer before the event.
    """

    def __init__(self, url: str, body: dict[str, Any]) -> None:
        self._url = url
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._inbox.put_nowait({"type": "http.request", "body": json.dumps(body).encode()})
        self.sent: list[Message] = []
        self.streaming = asyncio.Event()
        self.reads: asyncio.Event | None = None

    def hang_up(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def call(self, app: ASGIApp) -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": self._url,
            "raw_path": self._url.encode(),
            "query_string": b"",
            "headers": [],
        }
        await app(scope, self._inbox.get, self._send)

    async def _send(self, message: Message) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.streaming.set()
            if self.reads is not None:
                await self.reads.wait()


async def hang_up_when(client: Client, app: ASGIApp, event: asyncio.Event) -> None:
    """Hang up once the event has come, and wait until the application has let go."""
    calling = asyncio.ensure_future(client.call(app))
    await event.wait()
    client.hang_up()
    await asyncio.wait_for(calling, 10)
