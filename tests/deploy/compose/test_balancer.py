"""compose's load balancer, the real Caddy with the real Caddyfile, before two plain upstreams."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import httpx
import pytest

from deploy.quickstart.ports import free_port
from tests.fixtures.caddy import running_caddy

SECONDS = 10.0
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n"
STREAM = HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"
EVENT = b"9\r\ndata: a\n\n\r\n"
LAST = b"0\r\n\r\n"


@dataclass
class Upstream:
    """An HTTP server whose streams send one event, and the second when `go_on` is set."""

    port: int = field(default_factory=free_port)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    client_is_gone: asyncio.Event = field(default_factory=asyncio.Event)
    answered: int = 0

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one request and close the connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b" /stream " in head:
                await self._stream(reader, writer)
            else:
                self.answered += b" /health" not in head
                writer.write(HEAD % b"text/plain" + b"Content-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    async def _stream(self, reader: StreamReader, writer: StreamWriter) -> None:
        writer.write(STREAM + EVENT)
        gone = asyncio.create_task(reader.read(1))
        going = asyncio.create_task(self.go_on.wait())
        await asyncio.wait({gone, going}, return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.client_is_gone.set()
        else:
            writer.write(EVENT + LAST)
        gone.cancel()
        going.cancel()


@dataclass
class Balanced:
    client: httpx.AsyncClient
    upstreams: list[Upstream]
    servers: list[asyncio.Server]


@pytest.fixture
async def balanced() -> AsyncIterator[Balanced]:
    """Two upstreams, Caddy before them, and a client of Caddy's."""
    upstreams = [Upstream(), Upstream()]
    async with AsyncExitStack() as stack:
        servers = [
            await asyncio.start_server(each.serve, "127.0.0.1", each.port) for each in upstreams
        ]
        for server in servers:
            stack.callback(server.close)
        places = [f"127.0.0.1:{each.port}" for each in upstreams]
        url = await stack.enter_async_context(running_caddy(places))
        client = httpx.AsyncClient(base_url=url, timeout=SECONDS)
        await stack.enter_async_context(client)
        yield Balanced(client, upstreams, servers)


async def test_an_event_arrives_before_the_next_one_is_sent(balanced: Balanced) -> None:
    async with balanced.client.stream("POST", "/stream") as response:
        events = response.aiter_bytes()
        first = await anext(events)
        for upstream in balanced.upstreams:
            upstream.go_on.set()
        rest = b"".join([part async for part in events])

    assert (first, rest) == (b"data: a\n\n", b"data: a\n\n")


async def test_a_client_that_goes_away_ends_its_request_upstream(balanced: Balanced) -> None:
    async with balanced.client.stream("POST", "/stream") as response:
        await anext(response.aiter_bytes())
    waits = [asyncio.create_task(each.client_is_gone.wait()) for each in balanced.upstreams]

    done, waiting = await asyncio.wait(waits, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)

    assert len(done) == 1
    for each in waiting:
        each.cancel()


async def test_requests_are_spread(balanced: Balanced) -> None:
    for _ in range(40):
        await balanced.client.post("/v1/any", content=b"x")

    assert all(upstream.answered > 5 for upstream in balanced.upstreams)


async def test_no_request_is_lost_to_a_replica_that_has_stopped_listening(
    balanced: Balanced,
) -> None:
    balanced.servers[0].close()

    statuses = {
        (await balanced.client.post("/v1/any", content=b"x")).status_code for _ in range(20)
    }

    assert statuses == {200}


async def test_metrics_are_not_for_the_public(balanced: Balanced) -> None:
    assert (await balanced.client.get("/metrics")).status_code == 404
    assert (await balanced.client.get("/health/live")).status_code == 200
