"""Wire types of chat completions: the answer. Write it without unset fields.

**Source:** GroqCloud OpenAPI v2.1, `CreateChatCompletionResponse`, `ChatCompletionResponseMessage`,
`ChatCompletionTokenLogprob`.
"""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import BaseModel

from app.engine.base import Candidate, FinishReason, TokenLogprob, ToolCall
from app.groq_fields import CompletionUsage, ToldTier, XGroq

WireFinishReason = FinishReason | Literal["function_call"]
"""With the word for a call by the deprecated `functions`."""


class CalledFunction(BaseModel):
    """A function with the arguments that the model wrote, JSON as text."""

    name: str
    arguments: str


class MessageToolCall(BaseModel):
    """A tool that the model wants called."""

    id: str
    type: Literal["function"]
    function: CalledFunction

    @classmethod
    def of(cls, call: ToolCall) -> Self:
        function = CalledFunction(name=call.name, arguments=call.arguments)
        return cls(id=call.id, type="function", function=function)


class TopLogprob(BaseModel):
    """A token that could have been chosen."""

    token: str
    logprob: float
    bytes: list[int]

    @classmethod
    def of(cls, candidate: Candidate) -> Self:
        written = list(candidate.text.encode())
        return cls(token=candidate.text, logprob=candidate.logprob, bytes=written)


class ChosenLogprob(TopLogprob):
    """The chosen token and the likeliest in its place."""

    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    """How likely the answer's tokens were."""

    content: list[ChosenLogprob]

    @classmethod
    def of(cls, tokens: Sequence[TokenLogprob]) -> Self:
        return cls(
            content=[
                ChosenLogprob(
                    **TopLogprob.of(token.chosen).model_dump(),
                    top_logprobs=[TopLogprob.of(other) for other in token.top],
                )
                for token in tokens
            ]
        )


class ChatCompletionMessage(BaseModel):
    """The answer; without text where it is nothing but calls."""

    role: Literal["assistant"]
    content: str | None
    reasoning: str = ""
    tool_calls: list[MessageToolCall] = []
    function_call: CalledFunction | None = None


class Choice(BaseModel):
    """The one choice of an answer."""

    index: Literal[0]
    message: ChatCompletionMessage
    logprobs: Logprobs | None
    finish_reason: WireFinishReason


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
    service_tier: ToldTier

    def json_bytes(self) -> bytes:
        """Write it as JSON."""
        return self.model_dump_json(exclude_unset=True).encode()
