"""Reads the JSON body of a request, for routes.

Too many bytes are refused with a 413 before they are all read; the rest is `json_document`'s.
FastAPI's own body parsing is not used: it bounds neither the bytes nor what they hold.
"""

import asyncio
from typing import Any, Generic, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel

from app.errors import body_too_large
from app.json_document import MAX_BYTES_IN_LOOP, parse

M = TypeVar("M", bound=BaseModel)


class JsonBody(Generic[M]):
    """Reads the body of a route, whose `model` the API's document names."""

    def __init__(self, model: type[M], if_empty: bytes) -> None:
        self.model = model
        self._if_empty = if_empty

    @property
    def is_required(self) -> bool:
        """Whether a body of no bytes is refused."""
        return not self._if_empty

    async def __call__(self, request: Request) -> M:
        limit: int = request.scope["state"]["body_limit_bytes"]
        body = await _read(request, limit) or self._if_empty
        if len(body) > MAX_BYTES_IN_LOOP:
            return await asyncio.to_thread(parse, self.model, body)
        return parse(self.model, body)


def json_body(model: type[M], *, if_empty: bytes = b"") -> Any:
    """Make the dependency of a route's body: `body: Annotated[M, json_body(M)]`.

    The most bytes it takes stand in the application's state, under `body_limit_bytes`. `if_empty`
    is read in place of a body of no bytes, which is refused otherwise.
    """
    return Depends(JsonBody(model, if_empty))


async def _read(request: Request, limit: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdecimal() and int(declared[:20]) > limit:
        raise body_too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise body_too_large(limit)
    return bytes(body)
