"""Wire types of responses: the answer, from its beginning to one of its ends.

**Source:** GroqCloud OpenAPI v2.1, `CreateResponseResponse`, `ResponseUsage`; GroqCloud's Responses
guide for the figures in `metadata`; OpenAI's SDK for what its types require besides.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel

from app.api.responses.output import OutputItem
from app.api.responses.schemas import ResponseRequest, ServiceTier
from app.api.responses.tools import echo
from app.catalog import ReasoningEffort
from app.engine.base import Usage
from app.inference.tiers import Tier

_TIERS: Mapping[Tier, ServiceTier] = {
    "performance": "auto",
    "on_demand": "default",
    "flex": "flex",
    "batch": "default",
}
"""Only `auto` leads to the performance tier, for which Groq's schema has no word."""


class InputTokensDetails(BaseModel):
    """Which input tokens were not computed anew."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    """Which output tokens are thoughts."""

    reasoning_tokens: int
    cached_tokens: int = 0


class ResponseUsage(BaseModel):
    """What the request took."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
        )


class IncompleteDetails(BaseModel):
    """Why an answer is cut."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class ResponseError(BaseModel):
    """Why there is no answer. OpenAI's SDK knows no code of ours but this one."""

    code: Literal["server_error"] = "server_error"
    message: str


class ReasoningEcho(BaseModel):
    """How long the model was asked to think; null also where the schema has no word for it."""

    effort: Literal["low", "medium", "high"] | None
    summary: None = None

    @classmethod
    def of(cls, effort: ReasoningEffort | None) -> Self:
        return cls(effort=effort if effort in ("low", "medium", "high") else None)


class Response(BaseModel):
    """The answer, with the parameters that it was made by."""

    id: str
    object: Literal["response"] = "response"
    status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
    created_at: int
    background: Literal[False] = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: None = None
    model: str
    output: list[OutputItem] = []
    parallel_tool_calls: bool
    previous_response_id: None = None
    reasoning: ReasoningEcho
    service_tier: ServiceTier
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: Literal[0] = 0
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None
    metadata: dict[str, str]

    @classmethod
    def begun(cls, request: ResponseRequest, *, id: str, created: int, model: str) -> Self:
        """Make one that has no output yet, of the default tier; `model` is the immutable id."""
        return cls(
            id=id,
            created_at=created,
            model=model,
            instructions=request.instructions,
            max_output_tokens=request.max_output_tokens,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            reasoning=ReasoningEcho.of(request.effort),
            service_tier="default",
            temperature=1.0 if request.temperature is None else request.temperature,
            text=request.text_config.echo(),
            tool_choice=echo(request.tool_choice),
            tools=[tool.echo() for tool in request.tools or ()],
            top_p=1.0 if request.top_p is None else request.top_p,
            user=request.user,
            metadata=request.metadata or {},
        )

    def at(self, tier: Tier) -> Self:
        """Return it with the tier that serves it."""
        return self.model_copy(update={"service_tier": _TIERS[tier]})

    def ended(self, output: Sequence[OutputItem], usage: Usage, *, is_cut: bool) -> Self:
        """Return it with its output: completed, or incomplete where the token limit cut it."""
        changes = {
            "status": "incomplete" if is_cut else "completed",
            "incomplete_details": IncompleteDetails() if is_cut else None,
            "output": list(output),
            "usage": ResponseUsage.of(usage),
        }
        return self.model_copy(update=changes)

    def failed(self, output: Sequence[OutputItem], message: str) -> Self:
        """Return it with what there was of its output when it failed."""
        error = ResponseError(message=message)
        return self.model_copy(update={"status": "failed", "error": error, "output": list(output)})

    def with_metrics(self, usage: Usage) -> Self:
        """Return it with the engine's times, in seconds, among its metadata."""
        seconds = {
            "completion_time": usage.completion_seconds,
            "prompt_time": usage.prompt_seconds,
            "queue_time": usage.queue_seconds,
            "total_time": usage.prompt_seconds + usage.completion_seconds,
        }
        told = {name: f"{value:.9f}" for name, value in seconds.items()}
        return self.model_copy(update={"metadata": {**self.metadata, **told}})

    def json_bytes(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json().encode()
