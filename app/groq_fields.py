"""Groq's additions to OpenAI's answers, the same in each resource: usage with times, `x_groq`.

**Source:** GroqCloud OpenAPI v2.1, `CompletionUsage`, `XGroqNonStreaming`, and `service_tier` of
`CreateChatCompletionResponse`.
"""

from typing import Literal, Self

from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from app.engine.base import Usage
from app.inference.tiers import Tier

ToldTier = Literal["performance", "on_demand", "flex"] | None


class PromptTokensDetails(BaseModel):
    """Which prompt tokens were not computed anew."""

    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """Which tokens of the answer are thoughts."""

    reasoning_tokens: int


class CompletionUsage(BaseModel):
    """What the request took; times in seconds. Write it without unset fields."""

    queue_time: float
    prompt_tokens: int
    prompt_time: float
    completion_tokens: int
    completion_time: float
    total_tokens: int
    total_time: float
    # Left out rather than null; and a default that is a model would be copied for each answer.
    prompt_tokens_details: PromptTokensDetails | SkipJsonSchema[None] = None
    completion_tokens_details: CompletionTokensDetails | SkipJsonSchema[None] = None

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Build it from the engine's figures; the details are absent when they are 0."""
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
        if usage.reasoning_tokens:
            details = CompletionTokensDetails(reasoning_tokens=usage.reasoning_tokens)
            wire.completion_tokens_details = details
        return wire


class XGroq(BaseModel):
    """The request's id, and the seed that makes the same answer again."""

    id: str
    seed: int


def told(tier: Tier) -> ToldTier:
    """Return the tier that served a request as answers name it; they have no word for a batch's."""
    return None if tier == "batch" else tier
