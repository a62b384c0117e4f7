"""Reads one JSON object from bytes within bounds, and checks it against a closed pydantic model.

Refused, always with a 400: bytes that are not UTF-8, anything but one JSON object, keys given
twice, NaN and infinities, lone surrogates, and documents whose depth, keys or number of values no
honest request has. How many bytes there may be is for the caller to bound.
"""

import json
import math
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.errors import invalid_request, shortened
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
"""A longer text belongs in a thread: reading megabytes takes longer than others should wait."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(model: type[M], body: bytes) -> M:
    """Decode and check one document. **Raises:** ApiError 400, naming the first problem."""
    return checked(model, decode(body))


def checked(model: type[M], document: dict[str, Any]) -> M:
    """Check a decoded document. **Raises:** ApiError 400, naming the first problem."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False), model.model_fields) from None


def decode(body: bytes) -> dict[str, Any]:
    """Read one JSON object. **Raises:** ApiError 400, naming the first problem."""
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


class _Malformed(ValueError):
    """What is wrong with the document, in words for its sender."""


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
