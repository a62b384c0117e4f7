"""Two real servers on loopback: one takes requests in, the other has the model."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters_registry.testing import until
from app.cli.listening import bound
from app.observability.metrics import Metrics
from app.observability.middleware import ObservabilityMiddleware
from app.observability.pools import PoolMetrics
from app.pools.client import make_client
from app.pools.directory import Pool, ServedElsewhere
from app.pools.forwarding import Forwarder
from app.pools.middleware import ForwardingMiddleware
from app.unread_bodies import UnreadBodyMiddleware
from deploy.quickstart.ports import free_port

MODEL = "theirs"
HERE = "/here"
"""Path that the front answers by itself."""


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application, and yield its URL."""
    port = free_port()
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, server_header=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve(sockets=[bound("127.0.0.1", port)]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@dataclass
class Asked:
    """A request as the other pool has received it."""

    method: str
    target: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    port: int

    @property
    def header(self) -> Mapping[bytes, bytes]:
        return dict(self.headers)


@dataclass
class Upstream:
    """The other pool: keeps what it is asked, and answers as it is told."""

    answer: ASGIApp
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        target = scope["raw_path"].decode()
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode()
        self.asked.append(
            Asked(scope["method"], target, scope["headers"], body, scope["client"][1])
        )
        await self.answer(scope, receive, send)


@dataclass
class Front:
    """The pool that takes requests in; `reads` is how it reads a body before it knows whose it is.

    What it reads is kept in `read`.
    """

    pool: Pool
    spool_dir: Path
    reads: Callable[[Request], Awaitable[bytes]] = Request.body
    read: list[bytes] = field(default_factory=list)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.read.append(await self.reads(Request(scope, receive)))
        if scope["path"].startswith(HERE):
            await JSONResponse({"read": len(self.read[-1])})(scope, receive, send)
            return
        raise ServedElsewhere(self.pool, MODEL)

    def outcomes(self) -> dict[str, float]:
        """Return how many requests had which outcome."""
        [counter] = self.registry.collect()
        samples = [each for each in counter.samples if each.name.endswith("_total")]
        return {each.labels["outcome"]: each.value for each in samples if each.value}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[httpx.AsyncClient]:
        """Serve it as the product does, and yield a client."""
        metrics = PoolMetrics(self.registry, [self.pool.name])
        client = make_client()
        state = {"forwarder": Forwarder(client, metrics), "spool_dir": self.spool_dir}
        app = UnreadBodyMiddleware(ForwardingMiddleware(self))

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"].update(state)
            await app(scope, receive, send)

        async with (
            client,
            serving(ObservabilityMiddleware(with_state, Metrics())) as url,
            httpx.AsyncClient(base_url=url, timeout=20) as http,
        ):
            yield http


@asynccontextmanager
async def two_pools(
    answer: ASGIApp, spool_dir: Path
) -> AsyncIterator[tuple[httpx.AsyncClient, Front, Upstream]]:
    """Have both run; yield a client of the first."""
    upstream = Upstream(answer)
    async with serving(upstream) as url:
        front = Front(Pool(url, (MODEL,)), spool_dir)
        async with front.running() as client:
            yield client, front, upstream


Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def front_of(reply: Reply, spool_dir: Path) -> AsyncIterator[tuple[httpx.AsyncClient, Front]]:
    """Have a front whose other pool reads a request's head and then does what `reply` does."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reply(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        front = Front(Pool(f"http://127.0.0.1:{port}", (MODEL,)), spool_dir)
        async with front.running() as client:
            yield client, front


def fine(**headers: str) -> Response:
    return JSONResponse({"fine": True}, headers=headers)


def files(directory: Path) -> list[Path]:
    """List what lies in a directory."""
    return sorted(directory.iterdir())
