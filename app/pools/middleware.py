"""Pure-ASGI middleware: a request that turns out to be for another pool goes there, whole.

The application runs first, so that it is authenticated, and answers all that needs no engine. Only
installed where there are other pools.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.error_response import error_response
from app.errors import model_not_found
from app.pools.directory import ServedElsewhere
from app.pools.forwarding import Forwarder
from app.pools.headers import is_forwarded
from app.pools.recording import Recording, recorded

UPLOADS = "/files"
"""Large, and never for an engine: not kept."""


class ForwardingMiddleware:
    """Answers ServedElsewhere, by the `forwarder` and the `spool_dir` in the state."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].endswith(UPLOADS):
            await self._app(scope, receive, send)
        elif is_forwarded(scope["headers"]):
            await self._answer(scope, receive, send)
        else:
            async with recorded(receive, scope["state"]["spool_dir"]) as recording:
                await self._answer_or_forward(scope, recording, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have no request go round: what one pool takes for another's, the other may not."""
        try:
            await self._app(scope, receive, send)
        except ServedElsewhere as found:
            await error_response(model_not_found(found.model))(scope, receive, send)

    async def _answer_or_forward(self, scope: Scope, recording: Recording, send: Send) -> None:
        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                await recording.discard()
            await send(message)

        try:
            await self._app(scope, recording.receive, watched_send)
        except ServedElsewhere as elsewhere:
            found = elsewhere
        else:
            return
        forwarder: Forwarder = scope["state"]["forwarder"]
        await forwarder.forward(found.pool, scope, recording, send)
