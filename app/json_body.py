"""Reads a JSON request body within bounds and checks it against a closed pydantic model.

Refused, always with a 4xx: too many bytes, bytes that are not UTF-8, anything but one JSON object,
keys given twice, NaN and infinities, lone surrogates, and documents whose depth, keys or number of
values no honest request has. FastAPI's own body parsing is not used: it bounds none of these.
"""

import asyncio
import json
import math
import re
from typing import Any, Generic, TypeVar

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError

from app.errors import body_too_large, invalid_request, shortened
from app.json_bounds import separators, without_strings
from app.validation import invalid

M = TypeVar("M", bound=BaseModel)

MAX_DEPTH = 64
MAX_KEYS = 1_024
"""Keys of one object."""
MAX_VALUES = 250_000
"""Objects, arrays and scalars of the whole document."""
MAX_DIGITS = 40
MAX_BYTES_IN_LOOP = 128 << 10
"""A body of megabytes takes longer to read than other requests should wait."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


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


def parse(model: type[M], body: bytes) -> M:
    """Decode and check one body. **Raises:** ApiError 400, naming the first problem."""
    document = _decode(body)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False), model.model_fields) from None


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


class _Malformed(ValueError):
    """What is wrong with the document, in words for its sender."""


def _decode(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise invalid_request("The request body is empty: a JSON object is expected.")
    try:
        _count_values(body)
        text = body.decode()
        document = _loads(text)
        _check(document, check_text=_SURROGATE_ESCAPE.search(text) is not None)
    except UnicodeDecodeError:
        raise invalid_request("The request body is not valid UTF-8.") from None
    except json.JSONDecodeError as error:
        message = f"The request body is not valid JSON (line {error.lineno}, column {error.colno})."
        raise invalid_request(message) from None
    except RecursionError:
        raise invalid_request(f"The request body {_TOO_DEEP}.") from None
    except _Malformed as problem:
        raise invalid_request(f"The request body {problem}.") from None
    if not isinstance(document, dict):
        raise invalid_request("The request body must be a JSON object.")
    return document


_TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"


def _count_values(body: bytes) -> None:
    """Refuse a document of too many values before they are built: that takes seconds and RAM."""
    if separators(body) > MAX_VALUES and separators(without_strings(body)) > MAX_VALUES:
        raise _Malformed(f"has more than {MAX_VALUES} values")


def _loads(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_number,
        parse_constant=_constant,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise _Malformed(f"has an object with more than {MAX_KEYS} properties")
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Malformed(f"gives the property '{shortened(twice)}' twice")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Malformed("has an integer that is out of range")
    return int(digits)


def _number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _Malformed("has a number that is out of range")
    return number


def _constant(name: str) -> float:
    raise _Malformed(f"has the number {name}, which JSON does not know")


def _check(document: Any, *, check_text: bool) -> None:
    level, depth, count = [document], 0, 0
    while level:
        depth, count = depth + 1, count + len(level)
        if depth > MAX_DEPTH:
            raise _Malformed(_TOO_DEEP)
        if count > MAX_VALUES:
            raise _Malformed(f"has more than {MAX_VALUES} values")
        if check_text:
            _refuse_lone_surrogates(level)
        level = [child for value in level for child in _children(value)]


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _refuse_lone_surrogates(level: list[Any]) -> None:
    for value in level:
        for text in value if isinstance(value, dict) else (value,):
            if isinstance(text, str) and not text.isascii() and _has_surrogate(text):
                raise _Malformed("has half of a surrogate pair, which is not Unicode text")


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
