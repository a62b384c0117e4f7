"""The form that an answer must have.

**Source:** GroqCloud OpenAPI v2.1, `ResponseFormatText`, `ResponseFormatJsonObject`,
`ResponseFormatJsonSchema`.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from app.validation import by_type
from app.wire import Closed, Name


class TextFormat(Closed):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(Closed):
    """A JSON object of any shape."""

    type: Literal["json_object"]


class JsonSchema(Closed):
    """The shape of a JSON document. `strict` asks for the subset that can always be kept to."""

    name: Name
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class JsonSchemaFormat(Closed):
    """A JSON document of the given shape."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("(text)")]
    | Annotated[JsonObjectFormat, Tag("(json_object)")]
    | Annotated[JsonSchemaFormat, Tag("(json_schema)")],
    Discriminator(by_type),
]


def wanted(format: TextFormat | JsonObjectFormat | JsonSchemaFormat | None) -> Any:
    """Return the form, OpenAI-shaped; None where any text will do."""
    if format is None or isinstance(format, TextFormat):
        return None
    return format.model_dump(by_alias=True, exclude_none=True)
