"""Ids of groups of usage. One names its group's values, so it says where a list goes on after it.

It is no secret and gives no right: whoever makes one up sees their own usage after that place.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import date
from typing import Any

from app.errors import ApiError, invalid_request
from app.usage.repository import Dimension, Value

PREFIX = "usage_"
PATTERN = f"^{PREFIX}[A-Za-z0-9_-]+$"
MAX_CHARACTERS = 4096
KINDS: dict[Dimension, type[Value]] = {
    "day": date,
    "model": str,
    "adapter": str,
    "api_key_id": str,
    "batch": bool,
}


def group_id(group_by: Sequence[Dimension], values: Sequence[Value]) -> str:
    """Name a group; `values` has one for each dimension."""
    written = [value.isoformat() if isinstance(value, date) else value for value in values]
    text = json.dumps([list(group_by), written], separators=(",", ":"))
    return PREFIX + urlsafe_b64encode(text.encode()).decode().rstrip("=")


def values_of(id: str, group_by: Sequence[Dimension]) -> tuple[Value, ...]:
    """Read the id of a group again. **Raises:** ApiError 400 with param `after`."""
    try:
        names, written = _read(id)
    except (ValueError, RecursionError):
        raise _refused("is not the id of a group of usage") from None
    if names != list(group_by):
        raise _refused("is of a list that was grouped otherwise: `group_by` must stay the same")
    try:
        return tuple(_value(KINDS[name], one) for name, one in zip(names, written, strict=True))
    except ValueError:
        raise _refused("is not the id of a group of usage") from None


def _read(id: str) -> tuple[Any, list[Any]]:
    if len(id) > MAX_CHARACTERS or not id.startswith(PREFIX):
        raise ValueError
    encoded = id.removeprefix(PREFIX).encode()
    names, written = json.loads(urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)))
    if not isinstance(written, list):
        raise ValueError
    return names, written


def _value(kind: type[Value], written: Any) -> Value:
    if kind is bool:
        if not isinstance(written, bool):
            raise ValueError
        return written
    # What cannot be printed, PostgreSQL does not take either.
    if not isinstance(written, str) or not written.isprintable():
        raise ValueError
    return date.fromisoformat(written) if kind is date else written


def _refused(problem: str) -> ApiError:
    return invalid_request(f"`after` {problem}", param="after")
