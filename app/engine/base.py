"""What the service asks of an inference engine, in plain data; vLLM is one implementation.

EngineError
├── EngineStartError  a model of the catalog cannot be served; message is for the operator
├── EngineDead        the engine process is gone; no request can be answered
├── EngineOverloaded  its queue is full: try again later
├── AnswerUnreadable  what the model wrote cannot be taken apart into calls and text
├── PromptTooLong     prompt and completion do not fit the context window
└── PromptRefused     the prompt cannot be rendered or run for this model; message is for the caller
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from adapters_registry.host import AdapterHost
from adapters_registry.types import LoadedAdapter
from app.tasks import Task

FinishReason = Literal["stop", "length", "tool_calls"]


class EngineError(Exception):
    """Base of every error an engine raises."""


class EngineStartError(EngineError):
    """A model cannot be served; the message names it and says what to change in the catalog."""


class EngineDead(EngineError):
    """The engine process has died; requests in flight are lost."""


class EngineOverloaded(EngineError):
    """The engine's own queue is full."""


class AnswerUnreadable(EngineError):
    """What the model wrote is no answer that its parsers can read; `raw` is the text of it."""

    def __init__(self, raw: str) -> None:
        super().__init__("the model's answer could not be parsed")
        self.raw = raw


class PromptTooLong(EngineError):
    """The prompt leaves no room for a completion in the model's context window."""


class PromptRefused(EngineError):
    """The model's chat template, tokenizer or engine refuses this prompt.

    `param` is the field at fault, where it is not the one that holds the prompt.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 is greedy; `max_tokens` None is all that fits.

    `logprobs` is how many alternatives are told beside each chosen token; None tells nothing.
    `logit_bias` goes by token id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int | None = None
    stop: Sequence[str] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logprobs: int | None = None
    logit_bias: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """The tools that an answer may call, OpenAI-shaped; at least one.

    `choice` is `none`, `auto`, `required` or `{"type": "function", "function": {"name": …}}`.
    """

    tools: Sequence[dict[str, Any]]
    choice: str | dict[str, Any] = "auto"
    parallel: bool = True


@dataclass(frozen=True, slots=True)
class ChatJob:
    """A conversation to be answered.

    `messages`, `response_format` and `documents` are OpenAI-shaped. `cache_salt` separates tenants
    in the prefix cache. `reasoning_effort` None is the model's default; `split_reasoning` False
    leaves the thoughts in the text, as the model wrote them. `stream` False asks for as few deltas
    as the engine can make of the answer.
    """

    messages: Sequence[dict[str, Any]]
    sampling: Sampling
    cache_salt: str
    tool_use: ToolUse | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    split_reasoning: bool = True
    stream: bool = True


@dataclass(frozen=True, slots=True)
class TextJob:
    """A text, or token ids, to be continued; no chat template is used.

    Control tokens in the text are control tokens. `echo` has the prompt told as text.
    """

    prompt: str | Sequence[int]
    sampling: Sampling
    cache_salt: str
    stream: bool = True
    echo: bool = False


Job = ChatJob | TextJob


class Prompt(Protocol):
    """A job as its engine will run it; of use to the engine that prepared it only."""

    @property
    def tokens(self) -> int:
        """Tokens of the prompt."""
        ...

    @property
    def max_tokens(self) -> int:
        """How many tokens may be generated: what the job asks for, or all that fits."""
        ...

    @property
    def text(self) -> str:
        """The prompt as text, where its job asks for `echo`; else empty."""
        ...


@dataclass(frozen=True, slots=True)
class Run:
    """How a prompt is run.

    `request_id` is unique among running requests. Lower `priority` runs first. The caller holds
    the lease of `adapter` until the last delta.
    """

    request_id: str
    adapter: LoadedAdapter | None = None
    priority: int = 0

    def part(self, number: int) -> "Run":
        """Return the run of one of several prompts that are run for one request."""
        return replace(self, request_id=f"{self.request_id}-{number}")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one request took, by the engine's own clocks (seconds).

    `cached_tokens` are part of the prompt's, `reasoning_tokens` of the completion's.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    queue_seconds: float
    prompt_seconds: float
    completion_seconds: float
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole call; `arguments` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could have been chosen. `text` is what it adds, `logprob` is natural."""

    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The chosen token, and the likeliest ones in its place, best first."""

    chosen: Candidate
    top: Sequence[Candidate]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer. `finish_reason` and `usage` come with the last one, and only there.

    `tokens` is how many the engine generated since the delta before. `raw` comes with the last one
    as well, where the job had tools or a response format: the whole text that the model wrote,
    before tool calls and thoughts were taken out.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: Sequence[ToolCall] = ()
    logprobs: Sequence[TokenLogprob] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    raw: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the service publishes about a served base model, and what may be asked of it."""

    id: str
    owned_by: str
    context_window: int
    max_completion_tokens: int
    fingerprint: str
    """Hash of weights' identity and engine version: changes when answers may change."""
    max_running: int = 256
    """Requests that the engine runs at once; more wait in its queue."""
    cache_tokens: int = 1 << 20
    """Tokens that its KV cache holds; requests beyond that wait as well."""
    takes_tools: bool = False
    takes_images: bool = False
    tells_logprobs: bool = True
    reasons: bool = False
    reasoning_efforts: Sequence[str] = ()
    task: Task = "chat"


class Engine(Protocol):
    """One base model of any kind, with its adapters."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def adapters(self) -> AdapterHost | None:
        """Where adapters of this model live, or None where it can have none."""
        ...

    async def probe(self, run: Run) -> None:
        """Have an adapter do a little work, to know that it can. **Raises:** EngineError."""
        ...

    async def check(self) -> None:
        """Return when the engine is alive. **Raises:** EngineDead."""
        ...


class ChatEngine(Engine, Protocol):
    """One base chat model."""

    async def prepare(self, job: Job) -> Prompt:
        """Render and tokenize a job; takes nothing from the engine yet.

        **Raises:** PromptTooLong, PromptRefused, EngineOverloaded.
        """
        ...

    def generate(self, prompt: Prompt, run: Run) -> AsyncIterator[Delta]:
        """Generate an answer, once for each prompt. Closing or cancelling aborts it.

        **Raises:** EngineError, before the first delta where the cause is the request.
        """
        ...
