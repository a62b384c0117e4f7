"""Wire types of chat completions: the closed request.

Each field of Groq's list is declared; none is ignored. `metadata` and `user` are accepted and
change nothing, as on Groq. What belongs to compound systems is refused by name.

**Source:** GroqCloud OpenAPI v2.1, `CreateChatCompletionRequest`. `stream_options` is not in the
list, but its schema is in the specification and streams honour it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from app.api.chat.documents import Document
from app.api.chat.messages import Message
from app.api.chat.response_format import JsonObjectFormat, JsonSchemaFormat, ResponseFormat
from app.api.chat.tools import Choice, Functions, NamedFunction, NamedTool, Tools
from app.catalog import ReasoningEffort
from app.inference.tiers import AskedTier
from app.validation import refused
from app.wire import (
    LogitBias,
    ModelId,
    Penalty,
    Seed,
    Stop,
    Streamable,
    Temperature,
    TokenCount,
    TopP,
    bounded_parts,
    one_of,
    only,
)

MAX_MESSAGES = 4_096
MAX_DOCUMENTS = 256


def _compound(value: Any, info: ValidationInfo) -> Any:
    if value in (None, [], {}):
        return value
    message = (
        f"`{info.field_name}` is for compound systems, which are not served here: leave it out"
    )
    raise refused(message, param=info.field_name)


Compound = Annotated[Any, BeforeValidator(_compound, json_schema_input_type=one_of(None, [], {}))]


def _named_or_not(value: Any) -> str:
    return "(named)" if isinstance(value, dict | BaseModel) else "(word)"


Word = Annotated[Choice, Tag("(word)")]
ToolChoice = Annotated[Word | Annotated[NamedTool, Tag("(named)")], Discriminator(_named_or_not)]
FunctionChoice = Annotated[
    Word | Annotated[NamedFunction, Tag("(named)")], Discriminator(_named_or_not)
]


class ChatCompletionRequest(Streamable):
    """The body of POST /chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ModelId
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Annotated[Any, only(False)] = None
    service_tier: AskedTier | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    logit_bias: LogitBias | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    disable_tool_validation: bool | None = None
    functions: Functions | None = None
    function_call: FunctionChoice | None = None
    reasoning_effort: ReasoningEffort | None = None
    reasoning_format: Literal["hidden", "raw", "parsed"] | None = None
    include_reasoning: bool | None = None
    documents: Annotated[list[Document], Field(max_length=MAX_DOCUMENTS)] | None = None
    citation_options: Literal["enabled", "disabled"] | None = None
    search_settings: Compound = None
    include_domains: Compound = None
    exclude_domains: Compound = None
    compound_custom: Compound = None

    @model_validator(mode="before")
    @classmethod
    def has_bounded_messages(cls, data: Any) -> Any:
        return bounded_parts(data, "messages")

    @model_validator(mode="after")
    def limits_agree(self) -> Self:
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            message = "`max_tokens` and `max_completion_tokens` differ: give only one of them"
            raise refused(message, param="max_tokens")
        if self.top_logprobs and not self.logprobs:
            message = "`logprobs` must be true to use `top_logprobs`"
            raise refused(message, param="top_logprobs")
        return self

    @model_validator(mode="after")
    def tools_agree(self) -> Self:
        if self.tools and self.functions:
            raise refused("`tools` and `functions` cannot be used together", param="functions")
        tools = [tool.function.name for tool in self.tools or ()]
        functions = [function.name for function in self.functions or ()]
        self._check_choice("tools", "tool_choice", tools)
        self._check_choice("functions", "function_call", functions)
        return self

    @model_validator(mode="after")
    def reasoning_agrees(self) -> Self:
        if self.reasoning_format is not None and self.include_reasoning is not None:
            message = "`include_reasoning` and `reasoning_format` cannot be used together"
            raise refused(message, param="reasoning_format")
        structured = isinstance(self.response_format, JsonObjectFormat | JsonSchemaFormat)
        if self.reasoning_format == "raw" and (structured or self.declared_functions):
            message = "`reasoning_format` `raw` cannot be used with JSON output or tools"
            raise refused(message, param="reasoning_format")
        return self

    def _check_choice(self, declared: str, field: str, names: list[str]) -> None:
        if len(set(names)) < len(names):
            raise refused(f"two of `{declared}` have the same name", param=declared)
        choice = getattr(self, field)
        if choice in (None, "none"):
            return
        if not names:
            raise refused(f"`{field}` needs `{declared}` to choose from", param=field)
        name = choice.function.name if isinstance(choice, NamedTool) else None
        name = choice.name if isinstance(choice, NamedFunction) else name
        if name is not None and name not in names:
            raise refused(f"`{field}` names none of `{declared}`", param=field)

    @property
    def declared_functions(self) -> Functions:
        """The functions that may be called, in whichever form they were declared."""
        return self.functions or [tool.function for tool in self.tools or ()]

    @property
    def choice(self) -> str | dict[str, Any]:
        """Which tool to call, OpenAI-shaped."""
        choice = self.function_call if self.functions else self.tool_choice
        if isinstance(choice, NamedFunction):
            return {"type": "function", "function": {"name": choice.name}}
        return choice.model_dump() if isinstance(choice, NamedTool) else choice or "auto"

    @property
    def completion_limit(self) -> tuple[str, int | None]:
        """The limit on the answer's tokens, and the name of the field that it came in."""
        if self.max_completion_tokens is not None:
            return "max_completion_tokens", self.max_completion_tokens
        return "max_tokens", self.max_tokens

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts that end the answer."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
