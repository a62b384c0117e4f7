"""The tools of a request and the choice between them; functions only, in OpenAI's flat form.

**Source:** GroqCloud OpenAPI v2.1, `ResponseTool`, `ResponseToolChoiceOption`. The choice of one
tool has its name under `function` there and beside `type` in OpenAI's SDK: both are taken.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator

from app.errors import shortened
from app.validation import refused, worded
from app.wire import MAX_TOOLS, Name, Open


def _is_function(kind: Any) -> Any:
    if isinstance(kind, str) and kind != "function":
        raise refused(f"tools of type `{shortened(kind)}` are not served here: use `function`")
    return kind


Kind = Annotated[Literal["function"], BeforeValidator(_is_function)]


class FunctionTool(Open):
    """A function as the model is told of it."""

    type: Kind
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def tool(self) -> dict[str, Any]:
        """Return it in the shape of chat completions."""
        function = self.model_dump(exclude_none=True, exclude={"type"})
        return {"type": "function", "function": function}

    def echo(self) -> dict[str, Any]:
        """Return it as a response repeats it."""
        return self.model_dump(exclude_none=True) | {"strict": bool(self.strict)}


class NamedFunction(Open):
    """A function by its name."""

    name: Name


class NamedTool(Open):
    """The one tool to call."""

    type: Kind
    name: Name | None = None
    function: NamedFunction | None = None

    @model_validator(mode="after")
    def has_a_name(self) -> Self:
        if self.name is None and self.function is None:
            raise worded("property 'name' is missing")
        return self

    @property
    def chosen(self) -> str:
        """The tool's name, wherever it was written."""
        return self.function.name if self.function else self.name or ""


def _form(value: Any) -> str:
    return "(named)" if isinstance(value, dict | BaseModel) else "(word)"


Tools = Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("(word)")]
    | Annotated[NamedTool, Tag("(named)")],
    Discriminator(_form),
]


def chosen(choice: NamedTool | str | None) -> str | dict[str, Any]:
    """Return the choice in the shape of chat completions."""
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.chosen}}
    return choice or "auto"


def echo(choice: NamedTool | str | None) -> str | dict[str, Any]:
    """Return the choice as a response repeats it: to be read as Groq's shape and as OpenAI's."""
    if isinstance(choice, NamedTool):
        name = choice.chosen
        return {"type": "function", "name": name, "function": {"name": name}}
    return choice or "auto"
