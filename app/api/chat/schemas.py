"""Wire types of chat completions: the closed request and the answer.

Each field of Groq's list is declared. Those that this release cannot follow take only values that
ask for nothing and are refused otherwise; none is ignored. `metadata` and `user` are accepted and
change nothing, as on Groq.

**Source:** GroqCloud OpenAPI v2.1, `CreateChatCompletionRequest`, `CreateChatCompletionResponse`,
`CompletionUsage`, `XGroqNonStreaming`. `stream_options` is not in the list, but its schema is in
the specification and streams honour it.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from app.api.chat.messages import Closed, Message, one_or_many, only
from app.engine.base import FinishReason, Usage
from app.validation import refused, worded

MAX_MESSAGES = 4_096
MAX_MODEL_CHARACTERS = 512
MAX_STOP_CHARACTERS = 1_024
"""Ours: a stream holds back as many characters as a stop text has."""

SERVICE_TIER: Literal["on_demand"] = "on_demand"


def _is_text_format(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise worded("value must be an object")
    if (kind := value.get("type")) in ("json_object", "json_schema"):
        raise refused(f"This model does not support response format `{kind}`.")
    if kind != "text":
        raise worded("type is not one of the allowed values ['text', 'json_object', 'json_schema']")
    if len(value) > 1:
        raise worded("the format 'text' has no other property than 'type'")
    return value


def _is_offered(tier: str | None) -> str | None:
    if tier in ("flex", "performance"):
        raise refused(f"The service tier `{tier}` is not available on this deployment.")
    return tier


StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARACTERS)]
Stop = Annotated[
    Annotated[StopText, Tag("(one)")]
    | Annotated[list[StopText], Field(max_length=4), Tag("(many)")],
    Discriminator(one_or_many),
]
Tier = Literal["auto", "on_demand", "flex", "performance"]
Penalty = Annotated[float, Field(ge=-2, le=2)]
TokenCount = Annotated[int, Field(ge=1)]
Refused = Annotated[Any, only()]
RefusedList = Annotated[Any, only([])]
RefusedMap = Annotated[Any, only({})]


class StreamOptions(Closed):
    """What a stream carries besides the answer."""

    include_usage: bool | None = None


class ChatCompletionRequest(Closed):
    """The body of POST /chat/completions."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[
        str, Field(min_length=1, max_length=MAX_MODEL_CHARACTERS, pattern=r"^[^\x00-\x1f\x7f]+$")
    ]
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    stop: Stop | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: Annotated[Any, only(False)] = None
    service_tier: Annotated[Tier | None, AfterValidator(_is_offered)] = None
    response_format: Annotated[Any, BeforeValidator(_is_text_format)] = None
    logprobs: Annotated[Any, only(False)] = None
    top_logprobs: Annotated[Any, only(0)] = None
    logit_bias: RefusedMap = None
    tools: RefusedList = None
    tool_choice: Annotated[Any, only("none")] = None
    parallel_tool_calls: bool | None = None
    disable_tool_validation: bool | None = None
    functions: RefusedList = None
    function_call: Annotated[Any, only("none")] = None
    reasoning_effort: Refused = None
    reasoning_format: Refused = None
    include_reasoning: Refused = None
    documents: RefusedList = None
    citation_options: Annotated[Any, only("enabled", "disabled")] = None
    search_settings: RefusedMap = None
    include_domains: RefusedList = None
    exclude_domains: RefusedList = None
    compound_custom: RefusedMap = None

    @model_validator(mode="after")
    def fields_agree(self) -> Self:
        if self.stream_options is not None and not self.stream:
            message = "`stream_options` is only allowed when `stream` is true"
            raise refused(message, param="stream_options")
        limits = {self.max_tokens, self.max_completion_tokens} - {None}
        if len(limits) > 1:
            message = "`max_tokens` and `max_completion_tokens` differ: give only one of them"
            raise refused(message, param="max_tokens")
        return self

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

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk that carries only the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)


class PromptTokensDetails(BaseModel):
    """Which prompt tokens were not computed anew."""

    cached_tokens: int


class CompletionUsage(BaseModel):
    """What the request took; times in seconds. Write it without unset fields."""

    queue_time: float
    prompt_tokens: int
    prompt_time: float
    completion_tokens: int
    completion_time: float
    total_tokens: int
    total_time: float
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails(cached_tokens=0)

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Build it from the engine's figures; the details are absent when nothing was cached."""
        wire = cls(
            queue_time=round(usage.queue_seconds, 9),
            prompt_tokens=usage.prompt_tokens,
            prompt_time=round(usage.prompt_seconds, 9),
            completion_tokens=usage.completion_tokens,
            completion_time=round(usage.completion_seconds, 9),
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            total_time=round(usage.prompt_seconds + usage.completion_seconds, 9),
        )
        if usage.cached_tokens:
            wire.prompt_tokens_details = PromptTokensDetails(cached_tokens=usage.cached_tokens)
        return wire


class ChatCompletionMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str


class Choice(BaseModel):
    """The one choice of an answer."""

    index: Literal[0]
    message: ChatCompletionMessage
    logprobs: None
    finish_reason: FinishReason


class XGroq(BaseModel):
    """The request's id, and the seed that makes the same answer again."""

    id: str
    seed: int


class ChatCompletion(BaseModel):
    """The answer to a request that does not stream. Write it without unset fields."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    usage_breakdown: None
    system_fingerprint: str
    x_groq: XGroq
    service_tier: Literal["on_demand"]

    def json_bytes(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json(exclude_unset=True).encode()
