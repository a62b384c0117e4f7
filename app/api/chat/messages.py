"""The messages of a chat request: the roles and contents that are taken, and how the engine sees
them.

Nothing that a caller writes is dropped; named participants are refused, as Groq's documentation
says. The deprecated `function_call` and role `function` become tool calls and their results.

**Source:** GroqCloud OpenAPI v2.1, `ChatCompletionRequestMessage` and the schemas it names.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, ValidationInfo, field_validator

from app.validation import by_type, worded
from app.wire import Arguments, Closed, one_or_many, only

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_FUNCTION_CALL_ID = "function_call"
"""Calls by `functions` have no id; there is one at a time, so that one name serves for all."""


class TextPart(Closed):
    """A piece of a message's text."""

    type: Literal["text"]
    text: str

    def prompt(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class ImageUrl(Closed):
    """Where an image is: an https address, or its bytes as a data URL."""

    url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Closed):
    """A picture."""

    type: Literal["image_url"]
    image_url: ImageUrl

    def prompt(self) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self.image_url.url}}


class DocumentData(Closed):
    """A document's content."""

    data: dict[str, Any]
    id: str | None = None


class DocumentPart(Closed):
    """A JSON document inside a message."""

    type: Literal["document"]
    document: DocumentData

    def prompt(self) -> dict[str, Any]:
        name = "Document" if self.document.id is None else f"Document {self.document.id}"
        data = json.dumps(self.document.data, ensure_ascii=False)
        return {"type": "text", "text": f"{name}:\n{data}\n"}


Part = Annotated[
    Annotated[TextPart, Tag("(text)")]
    | Annotated[ImagePart, Tag("(image_url)")]
    | Annotated[DocumentPart, Tag("(document)")],
    Discriminator(by_type),
]
Text = Annotated[
    Annotated[str, Tag("(one)")] | Annotated[list[TextPart], Field(min_length=1), Tag("(many)")],
    Discriminator(one_or_many),
]
Content = Annotated[
    Annotated[str, Tag("(one)")] | Annotated[list[Part], Field(min_length=1), Tag("(many)")],
    Discriminator(one_or_many),
]


class CalledFunction(Closed):
    """A function that the model called; `arguments` is the text of a JSON object."""

    name: Annotated[str, Field(min_length=1)]
    arguments: Arguments


class MessageToolCall(Closed):
    """An earlier tool call."""

    id: Annotated[str, Field(min_length=1)]
    type: Literal["function"]
    function: CalledFunction
    index: int | None = None
    """Streams number their calls, and clients send back what they got."""

    def prompt(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": self.function.model_dump()}


class SystemMessage(Closed):
    """Instructions; `developer` is the newer word for `system`."""

    role: Literal["system", "developer"]
    content: Text

    def prompt(self) -> dict[str, Any]:
        return {"role": "system", "content": _content(self.content)}


class UserMessage(Closed):
    """What the user says."""

    role: Literal["user"]
    content: Content

    def prompt(self) -> dict[str, Any]:
        return {"role": "user", "content": _content(self.content)}


class AssistantMessage(Closed):
    """An earlier answer."""

    role: Literal["assistant"]
    tool_calls: list[MessageToolCall] | None = None
    function_call: CalledFunction | None = None
    reasoning: str | None = None
    annotations: Annotated[Any, only([])] = None
    executed_tools: Annotated[Any, only([])] = None
    refusal: Annotated[Any, only("")] = None
    audio: Annotated[Any, only()] = None
    content: Annotated[Text | None, Field(validate_default=True)] = None

    @field_validator("content")
    @classmethod
    def says_something(cls, content: Any, info: ValidationInfo) -> Any:
        calls = info.data.get("tool_calls", True) or info.data.get("function_call", True)
        if content is None and not calls:
            raise worded("property 'content' is missing")
        return content

    def prompt(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant"}
        if self.content is not None:
            message["content"] = _content(self.content)
        if self.reasoning:
            message["reasoning"] = self.reasoning
        calls = [call.prompt() for call in self.tool_calls or ()]
        if self.function_call is not None:
            called = self.function_call.model_dump()
            calls.append({"id": _FUNCTION_CALL_ID, "type": "function", "function": called})
        return message | ({"tool_calls": calls} if calls else {})


class ToolMessage(Closed):
    """What a tool call brought."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str

    def prompt(self) -> dict[str, Any]:
        content = _content(self.content)
        return {"role": "tool", "tool_call_id": self.tool_call_id, "content": content}


class FunctionMessage(Closed):
    """What a call of a function brought."""

    role: Literal["function"]
    content: str | None
    name: str

    def prompt(self) -> dict[str, Any]:
        content = self.content or ""
        return {"role": "tool", "tool_call_id": _FUNCTION_CALL_ID, "content": content}


def _has_known_role(message: Any) -> Any:
    if not isinstance(message, dict):
        raise worded("value must be an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise worded("discriminator property 'role' has invalid value")
    return message


def _role(message: Any) -> str:
    return f"role:{message['role']}"


Message = Annotated[
    Annotated[SystemMessage, Tag("role:system")]
    | Annotated[SystemMessage, Tag("role:developer")]
    | Annotated[UserMessage, Tag("role:user")]
    | Annotated[AssistantMessage, Tag("role:assistant")]
    | Annotated[ToolMessage, Tag("role:tool")]
    | Annotated[FunctionMessage, Tag("role:function")],
    Discriminator(_role),
    BeforeValidator(_has_known_role),
]


def prompt(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Give the engine's view of the conversation, OpenAI-shaped."""
    return [message.prompt() for message in messages]


def _content(content: str | Sequence[TextPart | ImagePart | DocumentPart]) -> Any:
    return content if isinstance(content, str) else [part.prompt() for part in content]
