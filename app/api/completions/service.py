"""Legacy completions without HTTP: from a checked request to an answer or to a stream's bytes.

Each prompt is a generation of its own; together they are one request: counted once, with one seed
and one usage.
"""

import secrets
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, replace

from app.api.completions.completion import Choice, Completion, Logprobs, reason, total
from app.api.completions.schemas import CompletionRequest
from app.api.completions.side_by_side import side_by_side
from app.api.completions.stream import About, ChunkEncoder
from app.engine.base import Delta, ModelCard, Prompt, Sampling, TextJob, TokenLogprob, Usage
from app.errors import ApiError
from app.groq_fields import CompletionUsage, XGroq, told
from app.inference.context import RequestContext
from app.inference.conversation import check_limit, check_logprobs
from app.inference.generation import Generation
from app.inference.serving import Inference
from app.sse import error_event, log_failed, started

MOST_AT_ONCE = 8
SHARE = 4
"""One request runs at most this part, a quarter, of what its engine runs at once."""

NOTHING = Usage(0, 0, 0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Answering:
    """One request that is being answered."""

    context: RequestContext
    request: CompletionRequest
    seed: int
    id: str
    created: int


class CompletionsService:
    """Continues texts."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def complete(self, context: RequestContext, request: CompletionRequest) -> Completion:
        """Generate all choices whole. Cancelling aborts them. **Raises:** ApiError."""
        answering = _answering(context, request)
        wholes = [_Whole() for _ in request.prompts]
        async with self._open(answering) as served:
            async with aclosing(_deltas(answering, served)) as deltas:
                async for index, delta in deltas:
                    wholes[index].add(delta)
            return _completion(answering, served, wholes)

    async def stream(
        self, context: RequestContext, request: CompletionRequest
    ) -> AsyncGenerator[bytes, None]:
        """Generate the choices as server-sent events; returns once the first token is there.

        The caller must close what it gets; that aborts what still runs in the engine.
        **Raises:** ApiError, for all that goes wrong before the first token of any choice.
        """
        return await started(self._frames(_answering(context, request)))

    async def _frames(self, answering: _Answering) -> AsyncGenerator[bytes, None]:
        """Yield nothing first, once the first token is there."""
        async with (
            self._open(answering) as served,
            aclosing(_deltas(answering, served)) as deltas,
        ):
            first = await anext(deltas)
            yield b""
            encoder = _encoder(answering, served)
            yield encoder.opening(answering.seed) + encoder.chunks(*first)
            try:
                async for index, delta in deltas:
                    yield encoder.chunks(index, delta)
            except ApiError as error:
                log_failed(answering.context.id, error)
                yield error_event(error)

    def _open(self, answering: _Answering) -> AbstractAsyncContextManager[Generation]:
        request = answering.request
        return self._inference.open(
            Generation, answering.context, request.model, request.service_tier, field="prompt"
        )


class _Whole:
    """A choice that is put together."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.logprobs: list[TokenLogprob] = []
        self.last = Delta()

    def add(self, delta: Delta) -> None:
        self._texts.append(delta.text)
        self.logprobs += delta.logprobs
        self.last = delta

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def usage(self) -> Usage:
        assert self.last.usage is not None, "inference ends with an outcome"
        return self.last.usage


def _answering(context: RequestContext, request: CompletionRequest) -> _Answering:
    seed = secrets.randbits(32) if request.seed is None else request.seed
    return _Answering(context, request, seed, f"cmpl-{uuid.uuid4()}", int(time.time()))


async def _deltas(
    answering: _Answering, served: Generation
) -> AsyncGenerator[tuple[int, Delta], None]:
    request = answering.request
    sampling = _sampling(request, answering.seed)
    check_limit(request.max_tokens, served.card, "max_tokens")
    check_logprobs(sampling, served.card)
    prompts = await served.prepare_all(
        [
            TextJob(prompt, sampling, served.cache_salt, bool(request.stream), bool(request.echo))
            for prompt in request.prompts
        ]
    )
    runs = [_run(request, served, prompt) for prompt in prompts]
    at_once = _at_once(served.card, prompts)
    async with aclosing(side_by_side(runs, at_once=at_once)) as deltas:
        async for index, delta in deltas:
            yield index, delta


def _sampling(request: CompletionRequest, seed: int) -> Sampling:
    return Sampling(
        temperature=1.0 if request.temperature is None else request.temperature,
        top_p=1.0 if request.top_p is None else request.top_p,
        # Engines generate at least one; for none they are not asked.
        max_tokens=max(1, request.limit),
        seed=seed,
        stop=request.stop_texts,
        frequency_penalty=request.frequency_penalty or 0.0,
        presence_penalty=request.presence_penalty or 0.0,
        logprobs=request.logprobs,
        logit_bias=request.logit_bias or {},
    )


async def _run(
    request: CompletionRequest, served: Generation, prompt: Prompt
) -> AsyncGenerator[Delta, None]:
    if request.limit == 0:
        yield Delta(
            prompt.text, finish_reason="length", usage=replace(NOTHING, prompt_tokens=prompt.tokens)
        )
        return
    echoed = prompt.text
    async with aclosing(served.generate(prompt)) as deltas:
        async for delta in deltas:
            yield replace(delta, text=echoed + delta.text) if echoed else delta
            echoed = ""


def _at_once(card: ModelCard, prompts: Sequence[Prompt]) -> int:
    """Return how many run at once: none of its prompts may be refused because of the others."""
    at_once = min(MOST_AT_ONCE, max(1, card.max_running // SHARE))
    longest = sorted((prompt.tokens for prompt in prompts), reverse=True)
    while at_once > 1 and sum(longest[:at_once]) > card.cache_tokens // SHARE:
        at_once -= 1
    return at_once


def _encoder(answering: _Answering, served: Generation) -> ChunkEncoder:
    about = About(
        id=answering.id,
        created=answering.created,
        model=served.id,
        fingerprint=served.fingerprint,
        request_id=answering.context.id,
        tier=served.tier,
        include_usage=answering.request.include_usage,
    )
    return ChunkEncoder(about, choices=len(answering.request.prompts))


def _completion(answering: _Answering, served: Generation, wholes: Sequence[_Whole]) -> Completion:
    return Completion(
        id=answering.id,
        object="text_completion",
        created=answering.created,
        model=served.id,
        choices=[_choice(answering, index, whole) for index, whole in enumerate(wholes)],
        usage=CompletionUsage.of(total([whole.usage for whole in wholes])),
        system_fingerprint=served.fingerprint,
        x_groq=XGroq(id=answering.context.id, seed=answering.seed),
        service_tier=told(served.tier),
    )


def _choice(answering: _Answering, index: int, whole: _Whole) -> Choice:
    is_told = answering.request.logprobs is not None
    return Choice(
        text=whole.text,
        index=index,
        logprobs=Logprobs.of(whole.logprobs) if is_told else None,
        finish_reason=reason(whole.last),
    )
