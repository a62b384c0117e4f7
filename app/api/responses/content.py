"""The parts of an input item's content, in the words of the Responses API.

**Source:** GroqCloud OpenAPI v2.1, `ResponseInputContent`, and GroqCloud's Responses guide for
`input_image`; OpenAI's `output_text` and `refusal`, for answers that come back as input.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from app.validation import by_type
from app.wire import Closed, one_or_many, only


class Pushed(Closed):
    """What an SDK may have got from us and sends back: it writes unset properties as null."""

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, value: Any) -> Any:
        if isinstance(value, dict) and None in value.values():
            return {key: inner for key, inner in value.items() if inner is not None}
        return value


class InputText(Pushed):
    """A piece of text."""

    type: Literal["input_text"]
    text: str

    def prompt(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class InputImage(Pushed):
    """A picture: an https address, or its bytes as a data URL."""

    type: Literal["input_image"]
    file_id: Annotated[Any, only(otherwise="is not supported: send `image_url`")] = None
    image_url: Annotated[str, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None

    def prompt(self) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self.image_url}}


class OutputText(Pushed):
    """Text of an earlier answer; what was said about it is not shown to the model."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None

    def prompt(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class Refusal(Pushed):
    """An earlier answer that was none."""

    type: Literal["refusal"]
    refusal: str

    def prompt(self) -> dict[str, Any]:
        return {"type": "text", "text": self.refusal}


class SummaryText(Pushed):
    """A summary of thoughts."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(Pushed):
    """Thoughts."""

    type: Literal["reasoning_text"]
    text: str


Part = InputText | InputImage | OutputText | Refusal
_One = Annotated[str, Tag("(one)")]

_UserParts = list[
    Annotated[
        Annotated[InputText, Tag("(input_text)")] | Annotated[InputImage, Tag("(input_image)")],
        Discriminator(by_type),
    ]
]
_AssistantParts = list[
    Annotated[
        Annotated[OutputText, Tag("(output_text)")]
        | Annotated[Refusal, Tag("(refusal)")]
        | Annotated[InputText, Tag("(input_text)")],
        Discriminator(by_type),
    ]
]

UserContent = Annotated[
    _One | Annotated[_UserParts, Field(min_length=1), Tag("(many)")], Discriminator(one_or_many)
]
SystemContent = Annotated[
    _One | Annotated[list[InputText], Field(min_length=1), Tag("(many)")],
    Discriminator(one_or_many),
]
AssistantContent = Annotated[
    _One | Annotated[_AssistantParts, Tag("(many)")], Discriminator(one_or_many)
]


def prompt(content: str | Sequence[Part]) -> Any:
    """Give the engine's view, OpenAI-shaped."""
    return content if isinstance(content, str) else [part.prompt() for part in content]
