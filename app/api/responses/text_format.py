"""The form that an answer's text must have.

**Source:** GroqCloud OpenAPI v2.1, `ResponseFormatConfiguration`: a JSON schema stands flat, not
under a key of its own as in chat completions.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.validation import by_type
from app.wire import Closed, Name, only


class TextFormat(Closed):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Closed):
    """A JSON object of any shape."""

    type: Literal["json_object"]


class JsonSchemaFormat(Closed):
    """A JSON document of the given shape; `strict` asks for what can always be kept to."""

    type: Literal["json_schema"]
    name: Name
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


Format = Annotated[
    Annotated[TextFormat, Tag("(text)")]
    | Annotated[JsonObjectFormat, Tag("(json_object)")]
    | Annotated[JsonSchemaFormat, Tag("(json_schema)")],
    Discriminator(by_type),
]
_TEXT = TextFormat(type="text")


class TextConfig(Closed):
    """What `text` holds."""

    format: Format | None = None
    verbosity: Annotated[Any, only("medium", otherwise="of `text` is not supported")] = None

    def wanted(self) -> dict[str, Any] | None:
        """Return the form in the shape of chat completions; None where any text will do."""
        match self.format:
            case JsonSchemaFormat():
                schema = self.format.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
                return {"type": "json_schema", "json_schema": schema}
            case JsonObjectFormat():
                return {"type": "json_object"}
            case _:
                return None

    def echo(self) -> dict[str, Any]:
        """Return it as a response repeats it."""
        return {"format": (self.format or _TEXT).model_dump(by_alias=True, exclude_none=True)}
