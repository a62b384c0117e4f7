"""Wire types of responses: the closed request.

Each field of Groq's list is declared; none is ignored. What OpenAI has besides is refused by a
sentence of its own where it would keep something here: no response, conversation or prompt is
stored. Values that ask for nothing are taken.

**Source:** GroqCloud OpenAPI v2.1, `CreateResponseRequest`; the limits of `metadata` are OpenAI's.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from app.api.responses.items import FunctionCall, FunctionCallOutput, InputItem
from app.api.responses.text_format import TextConfig
from app.api.responses.tools import NamedTool, ToolChoice, Tools
from app.catalog import ReasoningEffort
from app.errors import shortened
from app.inference.tiers import AskedTier
from app.validation import refused
from app.wire import (
    Closed,
    ModelId,
    Temperature,
    TokenCount,
    TopP,
    bounded_parts,
    one_or_many,
    only,
)

MAX_ITEMS = 4_096
NOT_STORED = "is not supported: nothing is stored here, send the earlier items in `input`"
NOT_SUPPORTED = "is not supported"

ServiceTier = Literal["auto", "default", "flex"]

Input = Annotated[
    Annotated[str, Tag("(one)")]
    | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_ITEMS), Tag("(many)")],
    Discriminator(one_or_many),
]
Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]
Refused = Annotated[Any, only(otherwise=NOT_SUPPORTED)]


class ReasoningConfig(Closed):
    """How long the model thinks; summaries are not made here."""

    effort: ReasoningEffort | None = None
    summary: Annotated[Any, only(otherwise="of `reasoning` is not supported")] = None
    generate_summary: Annotated[Any, only(otherwise="of `reasoning` is not supported")] = None


class ResponseRequest(Closed):
    """The body of POST /responses."""

    model: ModelId
    input: Input
    instructions: str | None = None
    max_output_tokens: TokenCount | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    metadata: Metadata | None = None
    user: str | None = None
    service_tier: ServiceTier | None = None
    stream: bool | None = None
    truncation: Annotated[
        Any,
        only("disabled", otherwise="can only be `disabled`: what is too long is refused, not cut"),
    ] = None
    store: Annotated[Any, only(False, otherwise="can only be false: nothing is stored here")] = None
    previous_response_id: Annotated[Any, only(otherwise=NOT_STORED)] = None
    conversation: Annotated[Any, only(otherwise=NOT_STORED)] = None
    background: Annotated[
        Any, only(False, otherwise="can only be false: nothing is stored here")
    ] = None
    prompt: Annotated[
        Any, only(otherwise="is not supported: no prompts are stored here, use `instructions`")
    ] = None
    include: Annotated[Any, only([], otherwise=NOT_SUPPORTED)] = None
    top_logprobs: Annotated[Any, only(0, otherwise=NOT_SUPPORTED)] = None
    stream_options: Annotated[
        Any, only({}, {"include_obfuscation": False}, otherwise=NOT_SUPPORTED)
    ] = None
    max_tool_calls: Refused = None
    safety_identifier: Refused = None
    prompt_cache_key: Refused = None
    prompt_cache_retention: Refused = None

    @model_validator(mode="before")
    @classmethod
    def has_bounded_input(cls, data: Any) -> Any:
        return bounded_parts(data, "input")

    @model_validator(mode="after")
    def tools_agree(self) -> Self:
        names = [tool.name for tool in self.tools or ()]
        if len(set(names)) < len(names):
            raise refused("two tools have the same name", param="tools")
        choice = self.tool_choice
        if not names and choice not in (None, "none", "auto"):
            raise refused("`tool_choice` needs `tools` to choose from", param="tool_choice")
        if isinstance(choice, NamedTool) and choice.chosen not in names:
            raise refused("`tool_choice` names a tool that is not in `tools`", param="tool_choice")
        return self

    @model_validator(mode="after")
    def outputs_follow_their_calls(self) -> Self:
        called: set[str] = set()
        for number, item in enumerate(self.items):
            if isinstance(item, FunctionCall):
                called.add(item.call_id)
            elif isinstance(item, FunctionCallOutput) and item.call_id not in called:
                message = (
                    f"no function call with call_id '{shortened(item.call_id)}' comes before its "
                    "output: nothing is stored here, send both"
                )
                raise refused(message, param=f"input.{number}.call_id")
        return self

    @property
    def items(self) -> list[InputItem]:
        """The input's items; none where it is a text."""
        return [] if isinstance(self.input, str) else self.input

    @property
    def tier(self) -> AskedTier:
        """The service tier as inference calls it; one that is absent is `default`, as in chat."""
        tier = self.service_tier or "default"
        return "on_demand" if tier == "default" else tier

    @property
    def effort(self) -> ReasoningEffort | None:
        """How long the model shall think."""
        return self.reasoning.effort if self.reasoning else None

    @property
    def text_config(self) -> TextConfig:
        """The form of the text, any where none is asked for."""
        return self.text or TextConfig()
