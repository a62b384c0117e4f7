"""Pure-ASGI middleware: gives each request an id, counts it and writes its access log line."""

import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.ids import new_id
from app.observability.metrics import Metrics

log = structlog.get_logger("access")


class ObservabilityMiddleware:
    """Sets `scope["state"]["request_id"]` and the `x-request-id` header."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = request_id
        status, started = 500, time.perf_counter()

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
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
