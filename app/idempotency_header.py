"""The Idempotency-Key header, as a parameter of the routes that create something."""

from typing import Annotated

from fastapi import Depends, Header, Request

from app.idempotency.errors import HEADER, invalid_key
from app.idempotency.request import checked_key

DESCRIPTION = (
    "Up to 24 hours, the same key with the same request answers with the object that the first one "
    "made. 1 to 255 printable ASCII characters."
)
SCHEMA = {"minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"}

Declared = Annotated[
    str | None, Header(alias=HEADER, description=DESCRIPTION, json_schema_extra=SCHEMA)
]


async def idempotency_key(request: Request, declared: Declared = None) -> str | None:
    """Return the request's key, if it has one. **Raises:** ApiError 400."""
    values = request.headers.getlist(HEADER)
    if len(values) > 1:
        raise invalid_key()
    return None if declared is None else checked_key(declared)


IdempotencyKeyDep = Annotated[str | None, Depends(idempotency_key)]
