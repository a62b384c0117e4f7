"""The forms of transcriptions and translations; every value of a form is text.

**Source:** GroqCloud OpenAPI v2.1, `CreateTranscriptionRequest`, `CreateTranslationRequest`; `srt`
and `vtt` are OpenAI's.
"""

import re
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from app.uploads import UploadedFile
from app.validation import invalid, refused, worded
from app.wire import ModelId

ResponseFormat = Literal["json", "text", "verbose_json", "srt", "vtt"]
Granularity = Literal["word", "segment"]

GRANULARITIES = "timestamp_granularities"
LISTS = frozenset({GRANULARITIES, f"{GRANULARITIES}[]"})
"""The SDKs write the brackets."""

# No digit can be read in two ways: of thousands, trying them all would take seconds.
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")

F = TypeVar("F", bound=BaseModel)


def _number(value: Any) -> float:
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise worded("value must be a number")
    return float(value)


def _no_stream(value: Any) -> Literal["false"]:
    if str(value).lower() != "false":
        raise refused("`stream` is not supported with this model", param="stream")
    return "false"


class AudioForm(BaseModel):
    """What both forms hold beside the audio."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelId
    prompt: str = ""
    response_format: ResponseFormat = "json"
    temperature: Annotated[float, Field(ge=0, le=1), BeforeValidator(_number)] = 0.0
    stream: Annotated[Literal["false"], BeforeValidator(_no_stream)] = "false"

    @property
    def wants_segments(self) -> bool:
        return True

    @property
    def wants_words(self) -> bool:
        return False


class TranscriptionForm(AudioForm):
    """What is asked of a transcription. Which languages there are is the model's matter."""

    language: str | SkipJsonSchema[None] = None
    timestamp_granularities: Annotated[
        list[Granularity],
        Field(description="One part a value; also named `timestamp_granularities[]`."),
    ] = []

    @model_validator(mode="after")
    def granularities_need_verbose_json(self) -> Self:
        if self.timestamp_granularities and self.response_format != "verbose_json":
            message = f"`{GRANULARITIES}` needs `response_format` to be `verbose_json`"
            raise refused(message, param=GRANULARITIES)
        return self

    @property
    def wants_segments(self) -> bool:
        return not self.timestamp_granularities or "segment" in self.timestamp_granularities

    @property
    def wants_words(self) -> bool:
        return "word" in self.timestamp_granularities


class TranslationForm(AudioForm):
    """What is asked of a translation; `language` is that of the text."""

    language: Literal["en"] = "en"


class _Audio(BaseModel):
    file: Annotated[
        bytes | SkipJsonSchema[None],
        Field(json_schema_extra={"format": "binary"}, description="The audio, or else `url`."),
    ] = None
    url: Annotated[
        str | SkipJsonSchema[None],
        Field(description="An http(s) or `data:` URL of the audio, or else `file`."),
    ] = None


class CreateTranscriptionForm(_Audio, TranscriptionForm):
    """The parts of a transcription's form."""


class CreateTranslationForm(_Audio, TranslationForm):
    """The parts of a translation's form."""


def read(form: type[F], upload: UploadedFile) -> F:
    """Check the fields that came with an upload. **Raises:** ApiError 400, naming the first."""
    given: dict[str, Any] = dict(upload.fields)
    if upload.lists:
        given[GRANULARITIES] = [value for values in upload.lists.values() for value in values]
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise invalid(error.errors(include_url=False), form.model_fields) from None
