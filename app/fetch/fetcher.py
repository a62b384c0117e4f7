"""The service's one way to get what a caller's URL names; engines are handed bytes, never URLs.

It follows redirects itself and checks each hop like the first. A name is looked up once a hop, and
the connection goes to the address that was checked. What a caller may learn from a failure is
decided in app.fetch.content.

**Source:** RFC 9110 sections 8.4 and 15.4 for encodings and redirects.
"""

import asyncio
from collections.abc import Sequence
from urllib.parse import urljoin

import httpcore

from app.errors import ApiError, invalid_request, overloaded
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


class Fetcher:
    """Fetches https (http, where the operator allows it) and `data:` URLs."""

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
        self._slots = asyncio.Semaphore(concurrent)

    async def fetch(
        self, url: str, *, max_bytes: int, accept: Sequence[str], param: str | None = None
    ) -> Fetched:
        """Return the content; `accept` lists media types, `image/*` included.

        The type is the sender's claim: check the bytes. Cancelling closes the connection.
        **Raises:** ApiError 400 naming `param`; 503, when too many fetches run already.
        """
        try:
            if is_data_url(url):
                return await _from_text(url, max_bytes, accept)
            target = parse_url(url, self._policy)
            return await self._download(target, max_bytes, accept)
        except UrlRefused as error:
            raise invalid_request(f"Invalid URL: {error}.", param=param) from error
        except FetchFailed as error:
            raise invalid_request(str(error), param=param) from error

    async def _download(self, target: Target, max_bytes: int, accept: Sequence[str]) -> Fetched:
        await self._take_slot()
        try:
            async with asyncio.timeout(self._seconds):
                return await self._follow(target, max_bytes, accept)
        except _FAILURES as error:
            raise Unreachable from error
        finally:
            self._slots.release()

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._slots.acquire()
        except TimeoutError as error:
            raise _busy() from error

    async def _follow(self, target: Target, max_bytes: int, accept: Sequence[str]) -> Fetched:
        for _ in range(1 + MAX_REDIRECTS):
            answer = await self._get(target, max_bytes, accept)
            if isinstance(answer, Fetched):
                return answer
            target = answer
        raise Unreachable

    async def _get(self, target: Target, max_bytes: int, accept: Sequence[str]) -> Fetched | Target:
        address = await self._address(target)
        async with self._http.get(target, address, accept) as response:
            if response.status in _REDIRECTS:
                return self._next(target, _header(response, b"location"))
            _check_plain(response)
            media_type = _header(response, b"content-type").partition(";")[0].strip().lower()
            if not is_accepted(media_type or _UNTYPED, accept):
                raise TypeRefused(accept)
            return Fetched(await _body(response, max_bytes), media_type or _UNTYPED)

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


async def _from_text(url: str, max_bytes: int, accept: Sequence[str]) -> Fetched:
    fetched = await asyncio.to_thread(decode_data_url, url, max_bytes=max_bytes)
    if not is_accepted(fetched.media_type, accept):
        raise TypeRefused(accept)
    return fetched


def _check_plain(response: httpcore.Response) -> None:
    """Refuse what is no whole answer, or comes compressed though we asked for it as it is."""
    encoding = _header(response, b"content-encoding").strip().lower()
    if response.status != 200 or encoding not in ("", "identity"):
        raise Unreachable


async def _body(response: httpcore.Response, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLarge(max_bytes)
    return bytes(body)


def _header(response: httpcore.Response, name: bytes) -> str:
    for key, value in response.headers:
        if key.lower() == name:
            return value.decode("latin-1")
    return ""


def _busy() -> ApiError:
    return overloaded("Too many URLs are being fetched at present. Please try again later.")
