"""What the wire models of several resources are made of: bases, and types of single values.

Knows no resource. What a value must be is said here once, in the words of app.validation.
"""

import json
import re
from itertools import accumulate
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from app.json_bounds import separators, without_strings
from app.validation import refused, worded

MAX_MODEL_CHARACTERS = 512
MAX_TOOLS = 128
MAX_STOP_CHARACTERS = 1_024
"""Ours: a stream holds back as many characters as a stop text has."""
MAX_BIASES = 1_024
MAX_PARTS = 8_192
"""Ours: parts and calls of all messages together; tens of thousands would hold the process up."""
MAX_ARGUMENT_VALUES = 10_000
MAX_ARGUMENT_DEPTH = 64

_BRACKET = re.compile(rb"[\[\]{}]")


class Closed(BaseModel):
    """A part of a request: JSON types are not converted, unknown properties are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Open(BaseModel):
    """A part of a request that may hold more than is known here, without effect."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


def only(*no_ops: Any, otherwise: str = "is not supported with this model") -> BeforeValidator:
    """Take null and values that ask for nothing; say of any other what the field cannot do."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is None or any(type(value) is type(no_op) and value == no_op for no_op in no_ops):
            return value
        raise refused(f"`{info.field_name}` {otherwise}")

    return BeforeValidator(check, json_schema_input_type=one_of(None, *no_ops))


class _OneOf:
    """The schema of one of some JSON values. Equal to itself alone, as 0 and False are equal."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values = values

    def __get_pydantic_json_schema__(self, *_: object) -> dict[str, Any]:
        return {"enum": list(self._values)}


def one_of(*values: Any) -> Any:
    """Make the type that says to readers of a schema which values a validator takes."""
    return Annotated[Any, _OneOf(values)]


def one_or_many(value: Any) -> str:
    """Tell the form of a field that takes a string or an array."""
    return "(many)" if isinstance(value, list) else "(one)"


def texts_or_tokens(value: Any) -> str:
    """Tell the form of a field of texts or token ids; an array is of what its first element is."""
    if not isinstance(value, list):
        return "(text)"
    first = value[0] if value else ""
    if isinstance(first, list):
        return "(arrays)"
    return "(tokens)" if isinstance(first, int) else "(texts)"


def _is_json_object(text: str) -> str:
    if not _is_bounded(text):
        raise worded(
            f"the JSON may have at most {MAX_ARGUMENT_VALUES} values, {MAX_ARGUMENT_DEPTH} deep"
        )
    try:
        is_object = isinstance(json.loads(text or "{}"), dict)
    except (ValueError, RecursionError):
        is_object = False
    if not is_object:
        raise worded("value must be a JSON object, written as a string")
    return text or "{}"


def _is_bounded(text: str) -> bool:
    """Tell whether reading it costs little; the bounds of a body do not see into its strings."""
    written = text.encode(errors="surrogatepass")
    if separators(written) <= MAX_ARGUMENT_DEPTH:
        return True
    plain = without_strings(written)
    ends = plain.count(b"]") + plain.count(b"}")
    if max(separators(plain), ends) > MAX_ARGUMENT_VALUES:
        return False
    levels = accumulate(1 if mark in b"[{" else -1 for mark in _BRACKET.findall(plain))
    return max(levels, default=0) <= MAX_ARGUMENT_DEPTH


ModelId = Annotated[
    str, Field(min_length=1, max_length=MAX_MODEL_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]+$")
]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
"""Of a function, or of a schema."""
Arguments = Annotated[str, AfterValidator(_is_json_object)]
"""What a function was called with: the text of a JSON object."""
Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(ge=0, le=1)]
TokenCount = Annotated[int, Field(ge=1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stop = Annotated[
    Annotated[StopText, Tag("(one)")]
    | Annotated[list[StopText], Field(max_length=4), Tag("(many)")],
    Discriminator(one_or_many),
]
LogitBias = Annotated[
    dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=MAX_BIASES),
]


class StreamOptions(Closed):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


class Streamable(Closed):
    """A request whose answer may be a stream with a chunk for the usage."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @model_validator(mode="after")
    def stream_options_need_a_stream(self) -> Self:
        if self.stream_options is not None and not self.stream:
            message = "`stream_options` is only allowed when `stream` is true"
            raise refused(message, param="stream_options")
        return self

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that carries only the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


def bounded_parts(data: Any, field: str) -> Any:
    """Pass a body on whose messages or items have no more parts and calls than anybody needs.

    Raises an error of app.validation, to be used before the body is checked.
    """
    entries = data.get(field) if isinstance(data, dict) else None
    if isinstance(entries, list) and sum(map(_parts, entries)) > MAX_PARTS:
        message = f"'{field}' : maximum number of parts and tool calls is {MAX_PARTS}"
        raise refused(message, param=field)
    return data


def _parts(message: Any) -> int:
    if not isinstance(message, dict):
        return 0
    lists = (message.get(name) for name in ("content", "output", "tool_calls"))
    return sum(len(each) for each in lists if isinstance(each, list))
