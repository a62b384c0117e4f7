"""Wire types of legacy completions: the answer. Write it without unset fields.

**Source:** openai.types.completion, openai.types.completion_choice (3.54), with the usage, the
`x_groq` and the `service_tier` of a chat completion.
"""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Literal, Self

from pydantic import BaseModel

from app.engine.base import Delta, TokenLogprob, Usage
from app.groq_fields import CompletionUsage, ToldTier, XGroq

FinishReason = Literal["stop", "length"]


class Logprobs(BaseModel):
    """How likely a choice's tokens were; `text_offset` counts characters of the choice's text."""

    text_offset: list[int]
    token_logprobs: list[float]
    tokens: list[str]
    top_logprobs: list[dict[str, float]]

    @classmethod
    def of(cls, tokens: Sequence[TokenLogprob], offset: int = 0) -> Self:
        """Build it from tokens of which the first begins at `offset`."""
        offsets = []
        for token in tokens:
            offsets.append(offset)
            offset += len(token.chosen.text)
        return cls(
            text_offset=offsets,
            token_logprobs=[token.chosen.logprob for token in tokens],
            tokens=[token.chosen.text for token in tokens],
            top_logprobs=[_top(token) for token in tokens],
        )


def _top(token: TokenLogprob) -> dict[str, float]:
    """Give the likeliest by their texts, best first, and the chosen one in any case.

    Of several tokens with one text, the chosen one is told, else the likeliest.
    """
    top: dict[str, float] = {}
    for other in token.top:
        top.setdefault(other.text, other.logprob)
    return top | {token.chosen.text: token.chosen.logprob}


class Choice(BaseModel):
    """What continues one prompt; `index` is the prompt's place in the request."""

    text: str
    index: int
    logprobs: Logprobs | None
    finish_reason: FinishReason


class Completion(BaseModel):
    """The answer to a request that does not stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage
    system_fingerprint: str
    x_groq: XGroq
    service_tier: ToldTier

    def json_bytes(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json(exclude_unset=True).encode()


def reason(last: Delta) -> FinishReason:
    """Say why a choice ended; texts call no tools."""
    return "length" if last.finish_reason == "length" else "stop"


def total(usages: Sequence[Usage]) -> Usage:
    """Add up what the choices of a request took, their times too."""
    return Usage(*map(sum, zip(*map(astuple, usages), strict=True)))
