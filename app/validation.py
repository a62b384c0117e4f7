"""Pydantic's errors in Groq's wording. Owns the words; knows no resource and reads no request.

Two conventions let a schema shape its errors. A union tag `role:X` becomes the frame "for 'role:X'
the following must be satisfied"; a tag in parentheses is left out of paths. An error raised by
`refused` is the whole message; one raised by `worded` stands behind the path of the value.
"""

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails, PydanticCustomError

from app.errors import ApiError, invalid_request, shortened

_ROLE = "role:"
_PATH_PARTS = 12

_WORDS = {
    "missing": "property '{field}' is missing",
    "extra_forbidden": "property '{field}' is unsupported",
    "string_type": "value must be a string",
    "int_type": "value must be an integer",
    "int_parsing": "value must be an integer",
    "int_parsing_size": "value is out of range",
    "float_type": "value must be a number",
    "bool_type": "value must be a boolean",
    "list_type": "value must be an array",
    "dict_type": "value must be an object",
    "model_type": "value must be an object",
    "literal_error": "value is not one of the allowed values [{expected}]",
    "greater_than_equal": "number must be at least {ge}",
    "less_than_equal": "number must be at most {le}",
    "greater_than": "number must be more than {gt}",
    "less_than": "number must be less than {lt}",
    "too_short": "minimum number of items is {min_length}",
    "too_long": "maximum number of items is {max_length}",
    "string_too_short": "minimum string length is {min_length}",
    "string_too_long": "maximum string length is {max_length}",
    "string_pattern_mismatch": "string does not match the pattern {pattern}",
    "finite_number": "number must be finite",
    "model_attributes_type": "value must be an object",
    "union_tag_not_found": "value must be an object",
    "union_tag_invalid": "discriminator property 'type' has invalid value",
}


def by_type(value: Any) -> str | None:
    """Tell the member of a union by its `type`: the member's tag is the type in parentheses."""
    kind = value.get("type", "") if isinstance(value, dict) else getattr(value, "type", None)
    return None if kind is None else f"({kind})"


def refused(message: str, *, param: str | None = None) -> PydanticCustomError:
    """Make the error of a validator that words the whole message itself."""
    return PydanticCustomError("refused", "{message}", {"message": message, "param": param})


def worded(text: str) -> PydanticCustomError:
    """Make the error of a validator that says what is wrong with one value."""
    return PydanticCustomError("worded", "{text}", {"text": text})


def invalid(errors: Sequence[ErrorDetails], known: Collection[str] = ()) -> ApiError:
    """Say the first problem; `known` are the top-level fields that a mistyped one may mean."""
    error = errors[0]
    if error["type"] == "refused":
        ctx = error["ctx"]
        return invalid_request(ctx["message"], param=ctx["param"] or _dotted(error["loc"]))
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        return invalid_request(_unsupported(str(error["loc"][0]), known))
    return invalid_request(_sentence(error), param=_dotted(error["loc"]))


def _unsupported(field: str, known: Collection[str]) -> str:
    close = get_close_matches(shortened(field), known, n=1)
    meant = f", did you mean '{close[0]}'?" if close else ""
    return f"property '{shortened(field)}' is unsupported{meant}"


def _sentence(error: ErrorDetails) -> str:
    loc = error["loc"]
    place = loc[:-1] if error["type"] == "extra_forbidden" else loc
    problem = f"'{_dotted(place)}' : {_words(error)}"
    for depth, part in enumerate(loc):
        if isinstance(part, str) and part.startswith(_ROLE) and depth:
            frame = f"for '{shortened(part)}' the following must be satisfied"
            return f"'{_dotted(loc[:depth])}' : {frame}[({problem})]"
    return problem


def _words(error: ErrorDetails) -> str:
    kind, ctx = error["type"], error.get("ctx", {})
    if error["input"] is None and kind.endswith("_type"):
        return "Value is not nullable"
    if words := _WORDS.get(kind):
        return words.format_map(_Shown({**ctx, "field": error["loc"][-1] if error["loc"] else ""}))
    return shortened(error["msg"].removeprefix("Value error, "), 256)


class _Shown(dict[str, Any]):
    """Format values, cut to what an error may repeat."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({key: shortened(str(value), 256) for key, value in values.items()})


def _dotted(loc: Sequence[str | int]) -> str | None:
    parts = [shortened(str(part)) for part in loc[:_PATH_PARTS] if not _is_tag(part)]
    return ".".join(parts) or None


def _is_tag(part: str | int) -> bool:
    return isinstance(part, str) and (part.startswith(_ROLE) or part[:1] in ("(", "["))
