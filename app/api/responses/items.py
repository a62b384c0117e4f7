"""The input items of a request: messages, calls and their outputs, and thoughts, in their order.

What an answer's output holds is taken as it was sent, so that a client can push it back as input.
Nothing is stored here: references to items are refused.

**Source:** GroqCloud OpenAPI v2.1, `ResponseInputItem` and the schemas it names.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from app.api.responses.content import (
    AssistantContent,
    Pushed,
    ReasoningText,
    SummaryText,
    SystemContent,
    UserContent,
    prompt,
)
from app.errors import shortened
from app.validation import refused, worded
from app.wire import Arguments, only

Status = Literal["in_progress", "completed", "incomplete"]
CallId = Annotated[str, Field(min_length=1)]

_KINDS = {
    "system": "(system)",
    "developer": "(system)",
    "user": "(user)",
    "assistant": "(assistant)",
}
_TYPES = frozenset({"function_call", "function_call_output", "reasoning"})


class Item(Pushed):
    """What every item may have; none of it is shown to the model."""

    id: str | None = None
    status: Status | None = None


class SystemMessage(Item):
    """Instructions; `developer` is the newer word for `system`."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer"]
    content: SystemContent

    def prompt(self) -> dict[str, Any]:
        return {"role": "system", "content": prompt(self.content)}


class UserMessage(Item):
    """What the user says."""

    type: Literal["message"] = "message"
    role: Literal["user"]
    content: UserContent

    def prompt(self) -> dict[str, Any]:
        return {"role": "user", "content": prompt(self.content)}


class AssistantMessage(Item):
    """An earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    phase: Literal["commentary", "final_answer"] | None = None
    content: AssistantContent

    def prompt(self) -> dict[str, Any]:
        return {"role": "assistant", "content": prompt(self.content) or ""}


class FunctionCall(Item):
    """An earlier call of a function."""

    type: Literal["function_call"]
    call_id: CallId
    name: Annotated[str, Field(min_length=1)]
    arguments: Arguments
    caller: Annotated[Any, only({"type": "direct"}, otherwise="is not supported")] = None
    namespace: Annotated[Any, only(otherwise="is not supported")] = None
    parsed_arguments: Any = None

    def prompt(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": self.arguments}
        call = {"id": self.call_id, "type": "function", "function": function}
        return {"role": "assistant", "tool_calls": [call]}


class FunctionCallOutput(Item):
    """What a call brought."""

    type: Literal["function_call_output"]
    call_id: CallId
    output: UserContent
    caller: Annotated[Any, only({"type": "direct"}, otherwise="is not supported")] = None

    def prompt(self) -> dict[str, Any]:
        return {"role": "tool", "tool_call_id": self.call_id, "content": prompt(self.output)}


class Reasoning(Item):
    """Earlier thoughts: as they were, else their summary."""

    type: Literal["reasoning"]
    summary: Sequence[SummaryText] = ()
    content: list[ReasoningText] | None = None
    encrypted_content: Annotated[Any, only(otherwise="is not supported: send `content`")] = None

    def prompt(self) -> dict[str, Any]:
        thoughts = "\n".join(part.text for part in self.content or self.summary)
        return {"role": "assistant", "reasoning": thoughts}


def _is_known(item: Any) -> Any:
    if not isinstance(item, dict):
        raise worded("value must be an object")
    kind = item.get("type")
    if kind is None or kind == "message":
        role = item.get("role")
        if not isinstance(role, str) or role not in _KINDS:
            raise worded("discriminator property 'role' has invalid value")
    elif kind == "item_reference":
        raise refused("`item_reference` is not supported: nothing is stored, send the item itself")
    elif not isinstance(kind, str):
        raise worded("discriminator property 'type' has invalid value")
    elif kind not in _TYPES:
        raise refused(f"items of type `{shortened(kind)}` are not served here")
    return item


def _kind(item: Any) -> str:
    kind = item.get("type")
    return f"({kind})" if kind in _TYPES else _KINDS[item["role"]]


InputItem = Annotated[
    Annotated[SystemMessage, Tag("(system)")]
    | Annotated[UserMessage, Tag("(user)")]
    | Annotated[AssistantMessage, Tag("(assistant)")]
    | Annotated[FunctionCall, Tag("(function_call)")]
    | Annotated[FunctionCallOutput, Tag("(function_call_output)")]
    | Annotated[Reasoning, Tag("(reasoning)")],
    Discriminator(_kind),
    BeforeValidator(_is_known),
]
