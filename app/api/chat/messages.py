"""The messages of a chat request: the roles and contents that are taken, and how the engine sees
them.

Text only. Images, documents, tool calls, tool results and named participants are refused with a
message that says so; nothing that a caller writes is dropped.

**Source:** GroqCloud OpenAPI v2.1, `ChatCompletionRequestMessage` and the schemas it names.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
)

from app.validation import refused, worded

_ROLES = frozenset({"system", "developer", "user", "assistant"})
_TOOL_ROLES = frozenset({"tool", "function"})
_OTHER_PARTS = {"image_url": "image", "document": "document"}


class Closed(BaseModel):
    """A part of a request: JSON types are not converted, unknown properties are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def only(*no_ops: Any) -> BeforeValidator:
    """Take null and values that ask for nothing; say of any other that it is not supported."""

    def check(value: Any, info: ValidationInfo) -> Any:
        if value is None or any(type(value) is type(no_op) and value == no_op for no_op in no_ops):
            return value
        raise refused(f"`{info.field_name}` is not supported with this model")

    return BeforeValidator(check)


def one_or_many(value: Any) -> str:
    """Tell the form of a field that takes a string or an array."""
    return "(many)" if isinstance(value, list) else "(one)"


def _takes_text(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, str) and kind in _OTHER_PARTS:
        raise refused(f"{_OTHER_PARTS[kind]} input is not supported with this model")
    return part


class TextPart(Closed):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str


Content = Annotated[
    Annotated[str, Tag("(one)")]
    | Annotated[
        list[Annotated[TextPart, BeforeValidator(_takes_text)]], Field(min_length=1), Tag("(many)")
    ],
    Discriminator(one_or_many),
]


class SystemMessage(Closed):
    """Instructions."""

    role: Literal["system", "developer"]
    content: Content


class UserMessage(Closed):
    """What the user says."""

    role: Literal["user"]
    content: Content


class AssistantMessage(Closed):
    """An earlier answer."""

    role: Literal["assistant"]
    tool_calls: Annotated[Any, only([])] = None
    function_call: Annotated[Any, only()] = None
    reasoning: Annotated[Any, only("")] = None
    content: Content


def _has_known_role(message: Any) -> Any:
    if not isinstance(message, dict):
        raise worded("value must be an object")
    role = message.get("role")
    if isinstance(role, str) and role in _TOOL_ROLES:
        raise refused(f"messages with the role `{role}` are not supported with this model")
    if not isinstance(role, str) or role not in _ROLES:
        raise worded("discriminator property 'role' has invalid value")
    return message


def _role(message: Any) -> str:
    return f"role:{message['role']}"


Message = Annotated[
    Annotated[SystemMessage, Tag("role:system")]
    | Annotated[SystemMessage, Tag("role:developer")]
    | Annotated[UserMessage, Tag("role:user")]
    | Annotated[AssistantMessage, Tag("role:assistant")],
    Discriminator(_role),
    BeforeValidator(_has_known_role),
]


def prompt(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Give the engine's view: role and content; `developer` is the newer word for `system`."""
    return [
        {
            "role": "system" if message.role == "developer" else message.role,
            "content": message.content
            if isinstance(message.content, str)
            else [part.model_dump() for part in message.content],
        }
        for message in messages
    ]
