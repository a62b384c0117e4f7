"""What the service asks of an inference engine, in plain data; vLLM is one implementation.

EngineError
├── EngineStartError  a model of the catalog cannot be served; message is for the operator
├── EngineDead        the engine process is gone; no request can be answered
├── EngineOverloaded  its queue is full: try again later
├── PromptTooLong     prompt and completion do not fit the context window
└── PromptRefused     the prompt cannot be rendered or run for this model; message is for the caller
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from adapters_registry.host import AdapterHost
from adapters_registry.types import LoadedAdapter

FinishReason = Literal["stop", "length"]


class EngineError(Exception):
    """Base of every error an engine raises."""


class EngineStartError(EngineError):
    """A model cannot be served; the message names it and says what to change in the catalog."""


class EngineDead(EngineError):
    """The engine process has died; requests in flight are lost."""


class EngineOverloaded(EngineError):
    """The engine's own queue is full."""


class PromptTooLong(EngineError):
    """The prompt leaves no room for a completion in the model's context window."""


class PromptRefused(EngineError):
    """The model's chat template, tokenizer or engine refuses this prompt."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy; `max_tokens` None is all that fits."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class ChatJob:
    """One chat completion.

    `request_id` is unique among running requests. `messages` are OpenAI-shaped. `cache_salt`
    separates tenants in the prefix cache. Lower `priority` runs first. The caller holds the lease
    of `adapter` until the last delta. `stream` False yields one delta with the whole answer.
    """

    request_id: str
    messages: Sequence[dict[str, Any]]
    sampling: Sampling
    cache_salt: str
    adapter: LoadedAdapter | None = None
    priority: int = 0
    stream: bool = True


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request took, by the engine's own clocks (seconds)."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prompt_seconds: float
    completion_seconds: float


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """A piece of the answer. `finish_reason` and `usage` come with the last one, and only there."""

    text: str
    finish_reason: FinishReason | None = None
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the service publishes about a served base model."""

    id: str
    owned_by: str
    context_window: int
    max_completion_tokens: int
    fingerprint: str
    """Hash of weights' identity and engine version: changes when answers may change."""


class ChatEngine(Protocol):
    """One base chat model, with its adapters."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def adapters(self) -> AdapterHost | None:
        """Where adapters of this model live, or None when the catalog enables no LoRA."""
        ...

    def chat(self, job: ChatJob) -> AsyncIterator[ChatDelta]:
        """Generate an answer. Closing or cancelling the iterator aborts it in the engine.

        **Raises:** EngineError, before the first delta where the cause is the request.
        """
        ...

    async def check(self) -> None:
        """Return when the engine is alive. **Raises:** EngineDead."""
        ...
