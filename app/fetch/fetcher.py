"""The service's one way to get what a caller's URL names; engines are handed bytes, never URLs.

It follows redirects itself and checks each hop like the first. A name is looked up once a hop, and
the connection goes to the address that was checked. What a caller may learn from a failure is
decided in app.fetch.content.

**Source:** RFC 9110 sections 8.4 and 15.4 for encodings and redirects.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin

import httpcore

from app.errors import invalid_request
from app.fetch.addresses import Address, is_public, parse_address
from app.fetch.content import (
    Fetched,
    FetchFailed,
    TooLarge,
    TypeRefused,
    Unreachable,
    UrlRefused,
    is_accepted,
)
from app.fetch.data_urls import decode_data_url, is_data_url
from app.fetch.http import HttpClient
from app.fetch.resolver import Resolve
from app.fetch.targets import Policy, Target, parse_url
from app.shares import SHARE, Shares

MAX_REDIRECTS = 3
CONCURRENT = 64

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_UNTYPED = "application/octet-stream"
_FAILURES = (
    OSError,
    # A name that the resolver cannot encode.
    UnicodeError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a caller takes; `count` is told of each piece of content and may raise."""

    max_bytes: int
    accept: Sequence[str]
    count: Callable[[int], None]


class Fetcher:
    """Fetches https (http, where the operator allows it) and `data:` URLs.

    `concurrent` fetches run at once, and a quarter of these for one organisation.
    """

    def __init__(
        self,
        policy: Policy,
        http: HttpClient,
        resolve: Resolve,
        *,
        total_seconds: float,
        concurrent: int = CONCURRENT,
    ) -> None:
        self._policy = policy
        self._http = http
        self._resolve = resolve
        self._seconds = total_seconds
        self._slots = Shares(
            concurrent,
            max(1, concurrent // SHARE),
            wait_seconds=total_seconds,
            refusal="Too many URLs are being fetched at present.",
        )

    async def fetch(
        self,
        url: str,
        *,
        org_id: str,
        max_bytes: int,
        accept: Sequence[str],
        param: str | None = None,
        count: Callable[[int], None] = lambda _: None,
    ) -> Fetched:
        """Return the content; `accept` lists media types, `image/*` included.

        `count` is told the bytes of each piece as it comes; what it raises ends the fetch.
        The type is the sender's claim: check the bytes. Cancelling closes the connection.
        **Raises:** ApiError 400 naming `param`; 503, when too many fetches run already.
        """
        wanted = _Wanted(max_bytes, accept, count)
        try:
            if is_data_url(url):
                return await _from_text(url, wanted)
            target = parse_url(url, self._policy)
            async with self._slots.hold(org_id):
                return await self._download(target, wanted)
        except UrlRefused as error:
            raise invalid_request(f"Invalid URL: {error}.", param=param) from error
        except FetchFailed as error:
            raise invalid_request(str(error), param=param) from error

    async def _download(self, target: Target, wanted: _Wanted) -> Fetched:
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(target, wanted)
        except _FAILURES as error:
            raise Unreachable from error

    async def _follow(self, target: Target, wanted: _Wanted) -> Fetched:
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._get(target, wanted)
            if isinstance(answer, Fetched):
                return answer
            target = answer
        raise Unreachable

    async def _get(self, target: Target, wanted: _Wanted) -> Fetched | Target:
        address = await self._address(target)
        async with self._http.get(target, address, wanted.accept) as response:
            if response.status in _REDIRECTS:
                return self._next(target, _header(response, b"location"))
            _check_plain(response)
            media_type = _header(response, b"content-type").partition(";")[0].strip().lower()
            if not is_accepted(media_type or _UNTYPED, wanted.accept):
                raise TypeRefused(wanted.accept)
            return Fetched(await _body(response, wanted), media_type or _UNTYPED)

    async def _address(self, target: Target) -> Address:
        found = [parse_address(text) for text in await self._texts(target)]
        addresses = [address for address in found if address is not None]
        if not addresses or len(addresses) < len(found):
            raise Unreachable
        # One private address among public ones is an attack or a mistake, and never needed.
        if not self._policy.names(target) and not all(map(is_public, addresses)):
            raise Unreachable
        return addresses[0]

    async def _texts(self, target: Target) -> Sequence[str]:
        if parse_address(target.host) is not None:
            return [target.host]
        return await self._resolve(target.host, target.port)

    def _next(self, target: Target, location: str) -> Target:
        try:
            return parse_url(urljoin(target.url, location), self._policy)
        except (ValueError, UrlRefused) as error:
            raise Unreachable from error


async def _from_text(url: str, wanted: _Wanted) -> Fetched:
    fetched = await asyncio.to_thread(decode_data_url, url, max_bytes=wanted.max_bytes)
    if not is_accepted(fetched.media_type, wanted.accept):
        raise TypeRefused(wanted.accept)
    wanted.count(len(fetched.content))
    return fetched


def _check_plain(response: httpcore.Response) -> None:
    """Refuse what is no whole answer, or comes compressed though we asked for it as it is."""
    encoding = _header(response, b"content-encoding").strip().lower()
    if response.status != 200 or encoding not in ("", "identity"):
        raise Unreachable


async def _body(response: httpcore.Response, wanted: _Wanted) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > wanted.max_bytes:
            raise TooLarge(wanted.max_bytes)
        wanted.count(len(chunk))
    return bytes(body)


def _header(response: httpcore.Response, name: bytes) -> str:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1")
    return ""
