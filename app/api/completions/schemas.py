"""Wire types of legacy completions: the closed request.

Each field of OpenAI's list is declared, and Groq's `service_tier`; none is ignored but `user`,
which changes nothing. What is not served is refused by name.

**Source:** openai.types.completion_create_params (3.54).
"""

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

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
    TopP,
    only,
    texts_or_tokens,
)

MAX_PROMPTS = 128
MAX_LOGPROBS = 5
DEFAULT_MAX_TOKENS = 16

TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
OnePrompt = str | TokenIds


Prompt = Annotated[
    Annotated[str, Tag("(text)")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS), Tag("(texts)")]
    | Annotated[TokenIds, Tag("(tokens)")]
    | Annotated[list[TokenIds], Field(max_length=MAX_PROMPTS), Tag("(arrays)")],
    Discriminator(texts_or_tokens),
]


class CompletionRequest(Streamable):
    """The body of POST /completions."""

    model: ModelId
    prompt: Prompt
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    echo: bool | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    presence_penalty: Penalty | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    suffix: Annotated[Any, only("")] = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    user: str | None = None
    service_tier: AskedTier | None = None

    @model_validator(mode="after")
    def echo_agrees(self) -> Self:
        if self.echo and self.logprobs is not None:
            message = "`logprobs` cannot be used with `echo`: those of a prompt are not told"
            raise refused(message, param="logprobs")
        if self.max_tokens == 0 and not self.echo:
            raise refused("`max_tokens` may be 0 only with `echo`", param="max_tokens")
        return self

    @property
    def prompts(self) -> list[OnePrompt]:
        """The prompts, each a text or token ids; there is one choice for each."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        # An array of ids is one prompt, an array of anything else is many.
        return [self.prompt] if isinstance(self.prompt[0], int) else list(self.prompt)

    @property
    def limit(self) -> int:
        """Most tokens of each choice."""
        return DEFAULT_MAX_TOKENS if self.max_tokens is None else self.max_tokens

    @property
    def stop_texts(self) -> tuple[str, ...]:
        """The texts that end a choice."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
