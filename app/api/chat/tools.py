"""The tools of a chat request, in today's form and in the deprecated one of `functions`.

**Source:** GroqCloud OpenAPI v2.1, `ChatCompletionTool`, `ChatCompletionToolChoiceOption`,
`ChatCompletionFunctions`, `ChatCompletionFunctionCallOption`. These schemas are open: properties
that they do not name are accepted and have no effect.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from app.validation import refused
from app.wire import MAX_TOOLS, Name, Open

_BUILT_IN = frozenset({"browser_search", "code_interpreter"})


class Function(Open):
    """A function as the model is told of it."""

    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None

    def tool(self) -> dict[str, Any]:
        """Return it as a tool, OpenAI-shaped."""
        return {"type": "function", "function": self.model_dump(exclude_none=True)}


def _is_function(kind: Any) -> Any:
    if isinstance(kind, str) and kind in _BUILT_IN:
        raise refused(f"tools of type `{kind}` are not served here: use `function`")
    return kind


class Tool(Open):
    """A tool; functions only."""

    type: Annotated[Literal["function"], BeforeValidator(_is_function)]
    function: Function


class NamedFunction(Open):
    """A function by its name."""

    name: Name


class NamedTool(Open):
    """The one tool to call."""

    type: Literal["function"]
    function: NamedFunction


Tools = Annotated[list[Tool], Field(max_length=MAX_TOOLS)]
Functions = Annotated[list[Function], Field(max_length=MAX_TOOLS)]
Choice = Literal["none", "auto", "required"]
