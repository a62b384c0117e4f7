"""A small internet: one public site, names that lead anywhere, and a canary for everything else.

The fetcher under test is the real one down to its sockets; only the last step of a connection is
led to a port of this machine, where an address of the internet cannot be reached.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpcore

from app.fetch.fetcher import Fetcher
from app.fetch.http import HttpClient
from app.fetch.targets import Policy

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
SITE = "site.example"
ORG = "org_1"
ANY = ("image/*", "text/plain", "application/octet-stream")

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Conversation


def answer(body: bytes = b"content", status: str = "200 OK", **headers: str) -> bytes:
    """Write a response down; `content_length="9"` and its like win over what is true."""
    lines = {"content-type": "text/plain", "content-length": str(len(body))}
    lines |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, location=location)


@dataclass(slots=True)
class Site:
    """A server of this machine that answers by path and keeps what it was asked."""

    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request has come."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a connection has ended."""
    port: int = 0

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator["Site"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            self.asked.set()
            reply = self.answers.get(request.split()[1].decode(), answer(b"", "404 Not Found"))
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.closed.set()


class Network(httpcore.AsyncNetworkBackend):
    """Leads the public addresses to the site; whatever else is connected to is the canary."""

    def __init__(self, site: Site, canary: Site) -> None:
        self._ports = {PUBLIC: site, PUBLIC_6: site}
        self._canary = canary
        self._real = httpcore.AnyIOBackend()
        self.connected: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, **options: Any) -> Any:
        self.connected.append((host, port))
        place = self._ports.get(host, self._canary)
        return await self._real.connect_tcp("127.0.0.1", place.port, **options)


class Names:
    """A resolver as hostile as can be: a name that it does not know is this very machine.

    Spellings of addresses mean what the C library takes them for, octal and hex included.
    """

    def __init__(self) -> None:
        self.known: dict[str, list[list[str]]] = {SITE: [[PUBLIC]]}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host in self.known:
            answers = self.known[host]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        try:
            found = socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        except OSError:
            return ["127.0.0.1"]
        return [str(address[0]) for *_, address in found]


@dataclass(slots=True)
class World:
    """The parts, and a fetcher that lives among them."""

    site: Site
    canary: Site
    network: Network
    names: Names

    def fetcher(
        self,
        *,
        schemes: Iterable[str] = ("https", "http"),
        allowed_hosts: Iterable[str] = ("*",),
        total_seconds: float = 10.0,
        concurrent: int = 64,
        tls: ssl.SSLContext | None = None,
    ) -> Fetcher:
        return Fetcher(
            Policy.parse(schemes, allowed_hosts),
            HttpClient(connect_seconds=5.0, network=self.network, tls=tls),
            self.names,
            total_seconds=total_seconds,
            concurrent=concurrent,
        )


@contextlib.asynccontextmanager
async def world(tls: ssl.SSLContext | None = None) -> AsyncIterator[World]:
    """Start the site (with TLS, where given) and the canary."""
    site, canary = Site(), Site()
    async with site.running(tls), canary.running():
        yield World(site, canary, Network(site, canary), Names())
