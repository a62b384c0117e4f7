"""One request on its way to another pool and back.

Sent once: whether a pool that was lost has begun to act on it cannot be known from here.
"""

from contextlib import aclosing
from typing import Literal, Protocol
from urllib.parse import quote

import httpx
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Scope, Send

from app.error_response import error_response
from app.errors import ApiError, unavailable
from app.pools.client import TIMEOUTS
from app.pools.directory import Pool
from app.pools.headers import of_request
from app.pools.recording import Recording, RecordingLost
from app.pools.relay import Relay
from app.transport import unless_disconnected

log = structlog.get_logger(__name__)

Outcome = Literal["answered", "unreachable", "lost", "broken", "left"]
"""UNREACHABLE: it was not sent. LOST: it was, or its body was not kept, and no answer came. BROKEN:
an answer began and did not end. LEFT: the client went away before one began."""

NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class PoolObserver(Protocol):
    """Told what becomes of requests that are passed on."""

    def forwarded(self, pool: str, outcome: Outcome) -> None:
        """Count a request."""
        ...


class NoAnswer(Exception):
    """A pool has not answered; `said` is what the client is told."""

    def __init__(self, outcome: Outcome, said: ApiError) -> None:
        super().__init__(outcome)
        self.outcome = outcome
        self.said = said


class Forwarder:
    """Passes requests on to other pools."""

    def __init__(self, client: httpx.AsyncBaseTransport, observer: PoolObserver) -> None:
        self._client = client
        self._observer = observer

    async def forward(self, pool: Pool, scope: Scope, recording: Recording, send: Send) -> None:
        """Send the request to a pool and its answer to the client; leaving ends both."""
        outcome: Outcome = "left"
        receive = recording.source
        rest = recording.receive_rest if _has_body(scope) else receive
        try:
            asking = unless_disconnected(rest, self._ask(pool, scope, recording))
            async with aclosing(await asking) as answer:
                outcome = "answered"
                breaks: list[Exception] = []
                await Relay(answer, breaks.append)(scope, receive, send)
                if breaks:
                    outcome = "broken"
                    _log(pool, scope, outcome, breaks[0])
        except ClientDisconnect:
            # Nobody receives it; 499 is what logs and metrics show.
            await Response(status_code=499)(scope, receive, send)
        except NoAnswer as failure:
            outcome = failure.outcome
            _log(pool, scope, outcome, failure.__cause__ or failure)
            await error_response(failure.said)(scope, receive, send)
        finally:
            self._observer.forwarded(pool.name, outcome)

    async def _ask(self, pool: Pool, scope: Scope, recording: Recording) -> httpx.Response:
        """Return a pool's answer with its body unread. **Raises:** NoAnswer, ClientDisconnect."""
        try:
            answer = await self._client.handle_async_request(_request(pool, scope, recording))
        except NO_CONNECTION as error:
            raise NoAnswer("unreachable", unavailable()) from error
        except (httpx.TransportError, RecordingLost) as error:
            raise NoAnswer("lost", unavailable()) from error
        log.info(
            "request forwarded",
            request_id=scope["state"].get("request_id"),
            pool=pool.name,
            status=answer.status_code,
            answered_as=answer.headers.get("x-request-id"),
        )
        return answer


def _request(pool: Pool, scope: Scope, recording: Recording) -> httpx.Request:
    return httpx.Request(
        scope["method"],
        pool.url,
        headers=of_request(scope["headers"]),
        content=recording.pieces() if _has_body(scope) else None,
        # Byte by byte what the client wrote: ids in paths hold escaped slashes.
        extensions={**TIMEOUTS, "target": _target(scope)},
    )


def _target(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _log(pool: Pool, scope: Scope, outcome: Outcome, error: BaseException) -> None:
    log.warning(
        "request not answered by its pool",
        request_id=scope["state"].get("request_id"),
        pool=pool.name,
        outcome=outcome,
        error=type(error).__name__,
    )
