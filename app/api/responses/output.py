"""Wire types of a response's output: its items, as they begin and as they end.

**Source:** GroqCloud OpenAPI v2.1, `ResponseOutputItem` and the schemas it names; what OpenAI's
SDK requires besides.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator

from app.engine.base import ToolCall
from app.ids import new_id

Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(BaseModel):
    """Text for the user."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = []
    logprobs: list[Any] = []


class ReasoningText(BaseModel):
    """Thoughts."""

    type: Literal["reasoning_text"] = "reasoning_text"
    text: str


class OutputMessage(BaseModel):
    """What the model says."""

    type: Literal["message"] = "message"
    id: str
    status: Status
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]

    @classmethod
    def begun(cls) -> Self:
        """Make one that has no text yet."""
        return cls(id=new_id("msg"), status="in_progress", content=[])

    def ended(self, text: str, status: Status) -> Self:
        """Return it with its text."""
        return self.model_copy(update={"status": status, "content": [OutputText(text=text)]})


class FunctionCallItem(BaseModel):
    """A function that the model wants called; `arguments` is the JSON text that it wrote."""

    type: Literal["function_call"] = "function_call"
    id: str
    status: Status
    call_id: str
    name: str
    arguments: str

    @classmethod
    def begun(cls, call: ToolCall) -> Self:
        """Make one that has no arguments yet."""
        id = new_id("fc")
        return cls(id=id, status="in_progress", call_id=call.id, name=call.name, arguments="")

    def ended(self, text: str, status: Status) -> Self:
        """Return it with its arguments."""
        return self.model_copy(update={"status": status, "arguments": text})


class ReasoningItem(BaseModel):
    """What the model thought; no summary is made."""

    type: Literal["reasoning"] = "reasoning"
    id: str
    status: Status
    summary: list[Any] = []
    content: list[ReasoningText]

    @classmethod
    def begun(cls) -> Self:
        """Make one that has no thoughts yet."""
        return cls(id=new_id("rs"), status="in_progress", content=[])

    def ended(self, text: str, status: Status) -> Self:
        """Return it with its thoughts."""
        return self.model_copy(update={"status": status, "content": [ReasoningText(text=text)]})


OutputItem = Annotated[OutputMessage | FunctionCallItem | ReasoningItem, Discriminator("type")]
