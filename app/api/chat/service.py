"""Chat completions without HTTP: from a checked request to an answer or to a stream's bytes.

Owns the order of things: resolve the model, check its limits, lease the adapter, generate, shape.
The lease and the engine's iterator live exactly as long as the generation, however it ends.
"""

import hashlib
import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, cast

import structlog

from adapters_registry.errors import RegistryError
from adapters_registry.types import AdapterVersion, Lease
from app.adapters.resolver import ResolvedModel
from app.api.chat.messages import prompt
from app.api.chat.schemas import (
    SERVICE_TIER,
    ChatCompletion,
    ChatCompletionMessage,
    ChatCompletionRequest,
    Choice,
    CompletionUsage,
    XGroq,
)
from app.api.chat.stream import ChunkEncoder, error_event
from app.engine.base import (
    ChatDelta,
    ChatJob,
    EngineDead,
    EngineError,
    FinishReason,
    Sampling,
    Usage,
)
from app.errors import ApiError, from_domain, invalid_request

log = structlog.get_logger(__name__)

Content = TypeVar("Content")


class Resolver(Protocol):
    """Finds what answers to a model id."""

    async def resolve(self, org_id: str, model: str) -> ResolvedModel: ...


class AdapterLeases(Protocol):
    """Gives the right to use an adapter (adapters_registry.registry.AdapterRegistry)."""

    def lease(self, version: AdapterVersion) -> AbstractAsyncContextManager[Lease]: ...


class GenerationObserver(Protocol):
    """Is told of each generation; `model` is a base model's id."""

    def first_token(self, model: str, seconds: float) -> None: ...

    def generated(self, model: str, usage: Usage) -> None: ...

    def leased(self, lease: Lease) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer(Generic[Content]):
    """What a request gets. `headers` say which adapter answers; a base model has none."""

    content: Content
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Generation:
    """One request that was found answerable; `request_id` and `seed` are the caller's to see.

    `lease` is the adapter's, from when it was got, also after it has ended.
    """

    model: ResolvedModel
    job: ChatJob
    request_id: str
    seed: int
    id: str
    created: int
    started: float
    lease: Lease | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.lease is None else _lease_headers(self.lease)


class ChatService:
    """Answers chat requests. `salt` gives an organisation's prefix-cache salt."""

    def __init__(
        self,
        resolver: Resolver,
        adapters: AdapterLeases,
        salt: Callable[[str], str],
        observer: GenerationObserver,
    ) -> None:
        self._resolver = resolver
        self._adapters = adapters
        self._salt = salt
        self._observer = observer

    async def complete(
        self, org_id: str, request_id: str, request: ChatCompletionRequest
    ) -> Answer[ChatCompletion]:
        """Generate the whole answer. Cancelling aborts it in the engine. **Raises:** ApiError."""
        generation = await self._begin(org_id, request_id, request)
        texts = []
        async with aclosing(self._deltas(generation)) as deltas:
            async for delta in deltas:
                texts.append(delta.text)
        return Answer(_completion(generation, "".join(texts), delta), generation.headers)

    async def stream(
        self, org_id: str, request_id: str, request: ChatCompletionRequest
    ) -> Answer[AsyncGenerator[bytes, None]]:
        """Generate an answer as server-sent events; returns once the first token is there.

        The caller must close the content; that aborts what still runs in the engine.
        **Raises:** ApiError, for all that goes wrong before the first token.
        """
        generation = await self._begin(org_id, request_id, request)
        frames = self._frames(generation, include_usage=request.include_usage)
        await anext(frames)
        return Answer(frames, generation.headers)

    async def _begin(
        self, org_id: str, request_id: str, request: ChatCompletionRequest
    ) -> _Generation:
        started = time.perf_counter()
        model = await self._resolver.resolve(org_id, request.model)
        seed = secrets.randbits(32) if request.seed is None else request.seed
        job = ChatJob(
            request_id=request_id,
            messages=prompt(request.messages),
            sampling=_sampling(request, seed, model.engine.card.max_completion_tokens),
            cache_salt=self._salt(org_id),
            stream=bool(request.stream),
        )
        id = f"chatcmpl-{uuid.uuid4()}"
        return _Generation(model, job, request_id, seed, id, int(time.time()), started)

    async def _frames(
        self, generation: _Generation, *, include_usage: bool
    ) -> AsyncGenerator[bytes, None]:
        """Yield nothing first: `stream` takes that, so that a started generator is given out.

        Closing one that was never started would not run its cleanup.
        """
        encoder = _encoder(generation)
        async with aclosing(self._deltas(generation)) as deltas:
            delta = await anext(deltas)
            yield b""
            opening = encoder.first(generation.seed)
            try:
                while delta.finish_reason is None:
                    yield opening + encoder.text(delta.text)
                    opening = b""
                    delta = await anext(deltas)
            except ApiError as error:
                log.error("stream failed", request_id=generation.request_id, exc_info=error)
                yield error_event(error)
                return
            reason, usage = _outcome(delta)
            end = encoder.last(reason, usage, include_usage=include_usage)
            yield opening + encoder.text(delta.text) + end

    async def _deltas(self, generation: _Generation) -> AsyncGenerator[ChatDelta, None]:
        """Yield the engine's deltas, the last one always with its outcome. Raises ApiError only."""
        engine, label = generation.model.engine, generation.model.engine.card.id
        try:
            async with AsyncExitStack() as stack:
                job = await self._with_adapter(generation, stack)
                # The engine's contract lets its iterator be closed, which AsyncIterator cannot say.
                chat = cast(AsyncGenerator[ChatDelta, None], engine.chat(job))
                awaited = True
                async for delta in await stack.enter_async_context(aclosing(chat)):
                    if awaited:
                        self._observer.first_token(label, _first_token_seconds(generation, delta))
                        awaited = False
                    if delta.finish_reason is not None:
                        self._observer.generated(label, _outcome(delta)[1])
                        yield delta
                        return
                    yield delta
                raise EngineDead("the engine stopped without an outcome")
        except (EngineError, RegistryError) as error:
            answer = from_domain(error, generation.model.id)
            answer.headers = {**answer.headers, **generation.headers}
            raise answer from error

    async def _with_adapter(self, generation: _Generation, stack: AsyncExitStack) -> ChatJob:
        if generation.model.version is None:
            return generation.job
        lease = await stack.enter_async_context(self._adapters.lease(generation.model.version))
        generation.lease = lease
        self._observer.leased(lease)
        return replace(generation.job, adapter=lease.adapter)


def _lease_headers(lease: Lease) -> dict[str, str]:
    """Say which weights answer, where they were found and how long having them took."""
    return {
        "x-adapter-digest": lease.adapter.version.digest,
        "x-adapter-tier": lease.tier,
        "x-adapter-wait-ms": f"{lease.wait_seconds * 1000:.1f}",
    }


def _sampling(request: ChatCompletionRequest, seed: int, most_tokens: int) -> Sampling:
    field, limit = request.completion_limit
    if limit is not None and limit > most_tokens:
        message = (
            f"`{field}` must be less than or equal to `{most_tokens}`, the maximum value for "
            f"`{field}` is less than the `context_window` for this model"
        )
        raise invalid_request(message, param=field)
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        max_tokens=limit,
        seed=seed,
        stop=request.stop_texts,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
    )


def _first_token_seconds(generation: _Generation, delta: ChatDelta) -> float:
    """Seconds from arrival; an answer that comes whole took its generation time on top."""
    later = delta.usage.completion_seconds if delta.usage else 0.0
    return max(time.perf_counter() - generation.started - later, 0.0)


def _outcome(delta: ChatDelta) -> tuple[FinishReason, Usage]:
    if delta.finish_reason is None or delta.usage is None:
        raise EngineDead("the engine's last delta has no outcome")
    return delta.finish_reason, delta.usage


def _fingerprint(model: ResolvedModel) -> str:
    """Name the weights that answer: the base model's own mark, or one of base and adapter."""
    base = model.engine.card.fingerprint
    if model.version is None:
        return base
    return "fp_" + hashlib.sha256(f"{base}{model.version.digest}".encode()).hexdigest()[:10]


def _encoder(generation: _Generation) -> ChunkEncoder:
    return ChunkEncoder(
        id=generation.id,
        created=generation.created,
        model=generation.model.id,
        fingerprint=_fingerprint(generation.model),
        request_id=generation.request_id,
    )


def _completion(generation: _Generation, text: str, last: ChatDelta) -> ChatCompletion:
    reason, usage = _outcome(last)
    message = ChatCompletionMessage(role="assistant", content=text)
    return ChatCompletion(
        id=generation.id,
        object="chat.completion",
        created=generation.created,
        model=generation.model.id,
        choices=[Choice(index=0, message=message, logprobs=None, finish_reason=reason)],
        usage=CompletionUsage.of(usage),
        usage_breakdown=None,
        system_fingerprint=_fingerprint(generation.model),
        x_groq=XGroq(id=generation.request_id, seed=generation.seed),
        service_tier=SERVICE_TIER,
    )
