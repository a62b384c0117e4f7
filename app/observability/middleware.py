"""Pure-ASGI middleware: gives each request an id, counts it and writes its access log line.

It also adds the headers that any part of the request's life has put by for the response, so that
an error carries them as well as an answer.
"""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.ids import new_id
from app.observability.metrics import Metrics

log = structlog.get_logger("access")


class ObservabilityMiddleware:
    """Sets `request_id` and `response_headers` in `scope["state"]`, and sends both."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        put_by: dict[str, str] = {}
        scope.setdefault("state", {}).update(request_id=request_id, response_headers=put_by)
        status, started = 500, time.perf_counter()

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                added = _raw({**put_by, "x-request-id": request_id})
                # An error's own are newer, and two of one name are read as one wrong value.
                own = {name for name, _ in message["headers"]}
                added = [header for header in added if header[0] not in own]
                message["headers"] = [*message["headers"], *added]
            await send(message)

        self._metrics.request_started()
        try:
            await self._app(scope, receive, observed_send)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - started)

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = scope.get("route")
        template = getattr(route, "path", "unmatched")
        self._metrics.request_ended(scope["method"], template, status, seconds)
        log.info(
            "request",
            request_id=request_id,
            method=scope["method"],
            route=template,
            status=status,
            seconds=round(seconds, 4),
        )


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
