"""One request's life at a model, whatever its wire shape: chat, responses and legacy completions.

Owns the order of things: resolve the model, count the request, render, reserve tokens, admit, lease
the adapter, generate, settle. Admission and lease live exactly as long as a generation, and the
budget is settled once, however the request ends.
"""

import hashlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import cast

from adapters_registry.errors import AdapterCapacityExceeded, RegistryError
from adapters_registry.types import Lease, LoadedAdapter
from app.adapters.resolver import ResolvedModel
from app.engine.base import (
    AnswerUnreadable,
    Delta,
    EngineDead,
    EngineError,
    EngineOverloaded,
    Job,
    ModelCard,
    Prompt,
    Run,
)
from app.engine.job_text import estimated_tokens
from app.errors import ApiError, from_domain, invalid_request
from app.inference.admission import Reason
from app.inference.context import RequestContext
from app.inference.ports import AdapterLeases, Admission, Budget, Limits, Observer, Resolver
from app.inference.tiers import PRIORITIES, AskedTier, Tier, wanted
from app.limits.windows import pool

NO_ROOM = (413, 429)
"""Statuses of a limit that is used up, or too small for the request."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What requests are served with. `salt` gives an organisation's prefix-cache salt."""

    resolver: Resolver
    adapters: AdapterLeases
    limits: Limits
    admission: Admission
    observer: Observer
    salt: Callable[[str], str]


class Inference:
    """Opens models to requests."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    @asynccontextmanager
    async def open(
        self,
        context: RequestContext,
        model: str,
        tier: AskedTier | None,
        *,
        field: str = "messages",
    ) -> AsyncIterator["Served"]:
        """Have a model to ask until the block ends; the request counts from here.

        `field` is where the caller wrote the prompt; errors name it.
        **Raises:** ApiError: the model is unknown, the tier not the caller's, a limit is reached.
        """
        started = time.perf_counter()
        resolved = await self._ports.resolver.resolve(context.caller.org_id, model)
        tiers = self._tiers(context, tier)
        served = Served(self._ports, context, resolved, tiers, started, field)
        self._ports.admission.check(served.card.id, served.tier)
        await served.count()
        try:
            yield served
        finally:
            await served.settle()

    def _tiers(self, context: RequestContext, asked: AskedTier | None) -> list[Tier]:
        plan = context.caller.plan
        tiers = [tier for tier in wanted(asked) if self._ports.limits.allows(plan, tier)]
        if not tiers:
            message = f"The service tier `{asked or 'on_demand'}` is not available on your plan."
            raise invalid_request(message, param="service_tier", code="not_available_for_plan")
        return tiers


class Served:
    """A model, opened to one request. `tiers` are those left to try, the first is in use."""

    def __init__(
        self,
        ports: Ports,
        context: RequestContext,
        model: ResolvedModel,
        tiers: list[Tier],
        started: float,
        field: str,
    ) -> None:
        self._ports = ports
        self._context = context
        self._model = model
        self._tiers = tiers
        self._started = started
        self._field = field
        self._budget: Budget | None = None
        self._runs = 0
        self._used_tokens = 0

    @property
    def id(self) -> str:
        """The model's immutable id, also where an alias was asked for."""
        return self._model.id

    @property
    def card(self) -> ModelCard:
        return self._model.engine.card

    @property
    def tier(self) -> Tier:
        """The tier that the request is served at."""
        return self._tiers[0]

    @property
    def cache_salt(self) -> str:
        return self._ports.salt(self._context.caller.org_id)

    @property
    def fingerprint(self) -> str:
        """Name the weights that answer: the base model's own mark, or one of base and adapter."""
        if self._model.version is None:
            return self.card.fingerprint
        identity = f"{self.card.fingerprint}{self._model.version.digest}"
        return "fp_" + hashlib.sha256(identity.encode()).hexdigest()[:10]

    async def count(self) -> None:
        """Count the request at the best tier that has room for it. **Raises:** ApiError 429."""
        while True:
            try:
                await self._open_budget()
                return
            except ApiError as error:
                self._next_tier_or(error)

    async def prepare(self, job: Job) -> Prompt:
        """Render a job and reserve its tokens; once in a request. **Raises:** ApiError."""
        (prompt,) = await self.prepare_all([job])
        return prompt

    async def prepare_all(self, jobs: Sequence[Job]) -> list[Prompt]:
        """Render several jobs and reserve their tokens together. **Raises:** ApiError."""
        prompts = [await self._render(job) for job in jobs]
        tokens = sum(map(_most_tokens, jobs, prompts))
        while True:
            try:
                await self._reserve(tokens)
                return prompts
            except ApiError as error:
                self._next_tier_or(error)
                await self.count()

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """Yield the engine's deltas, the last one always with its outcome. To be closed.

        **Raises:** ApiError, and nothing else that an engine or the registry raises.
        """
        run_id = f"{self._context.id}-{self._runs}" if self._runs else self._context.id
        self._runs += 1
        with self._in_words():
            async with AsyncExitStack() as stack:
                enter = self._ports.admission.enter
                stack.enter_context(enter(self.card.id, self.tier, prompt.tokens))
                adapter = await self._adapter(stack)
                run = Run(run_id, adapter, PRIORITIES[self.tier])
                # The engine's contract lets its iterator be closed, which AsyncIterator cannot say.
                deltas = self._model.engine.generate(prompt, run)
                closing = aclosing(cast(AsyncGenerator[Delta, None], deltas))
                metered = self._metered(prompt, await stack.enter_async_context(closing))
                # Closed here: left to the garbage collector, it would count after the settlement.
                async for delta in await stack.enter_async_context(aclosing(metered)):
                    yield delta

    async def settle(self) -> None:
        """Give back what was reserved and not used; with the budget's last state in the headers."""
        if self._budget is not None:
            await self._budget.settle(tokens=self._used_tokens)
            self._context.headers.update(self._budget.headers)

    async def _render(self, job: Job) -> Prompt:
        rendering = self._ports.admission.rendering
        # A prompt of more is refused by the engine, and no reason to try again later.
        tokens = min(estimated_tokens(job), self.card.context_window)
        with self._in_words(), rendering(self.card.id, self.tier, tokens):
            return await self._model.engine.prepare(job)

    async def _metered(
        self, prompt: Prompt, deltas: AsyncGenerator[Delta, None]
    ) -> AsyncGenerator[Delta, None]:
        label, observer, tokens = self.card.id, self._ports.observer, 0
        awaited, finished, failed = True, False, False
        try:
            async for delta in deltas:
                tokens += delta.tokens
                if awaited:
                    observer.first_token(label, self._first_token_seconds(delta))
                    awaited = False
                if (usage := delta.usage) is not None and delta.finish_reason is not None:
                    finished = True
                    observer.generated(label, usage)
                    prompt_tokens = usage.prompt_tokens - usage.cached_tokens
                    self._used_tokens += prompt_tokens + usage.completion_tokens
                    yield delta
                    return
                yield delta
            raise EngineDead("the engine stopped without an outcome")
        except EngineError as error:
            failed = not isinstance(error, AnswerUnreadable)
            raise
        finally:
            if not finished:
                observer.abandoned(label, prompt.tokens, tokens)
                # What the server fails at is not charged.
                self._used_tokens += 0 if failed else prompt.tokens + tokens

    async def _adapter(self, stack: AsyncExitStack) -> LoadedAdapter | None:
        if self._model.version is None:
            return None
        # Flex takes what is free at once, and never waits for a turn.
        wait_seconds = 0.0 if self.tier == "flex" else None
        leasing = self._ports.adapters.lease(self._model.version, wait_seconds=wait_seconds)
        lease = await stack.enter_async_context(leasing)
        self._ports.observer.leased(lease)
        self._context.headers.update(_lease_headers(lease))
        return lease.adapter

    async def _open_budget(self) -> None:
        caller, model = self._context.caller, self.card.id
        budget = await self._ports.limits.open(caller.org_id, caller.plan, model, self.tier)
        self._budget = budget
        self._context.headers.update(budget.headers)

    async def _reserve(self, tokens: int) -> None:
        assert self._budget is not None, "the request was counted"
        try:
            await self._budget.reserve_tokens(tokens)
        finally:
            self._context.headers.update(self._budget.headers)

    def _next_tier_or(self, error: ApiError) -> None:
        others = [tier for tier in self._tiers if pool(tier) != pool(self.tier)]
        if error.status not in NO_ROOM or not others:
            raise error
        self._tiers = others

    def _first_token_seconds(self, delta: Delta) -> float:
        """Seconds from arrival; an answer that comes whole took its generation time on top."""
        later = delta.usage.completion_seconds if delta.usage else 0.0
        return max(time.perf_counter() - self._started - later, 0.0)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except (EngineError, RegistryError) as error:
            raise self._said(error) from error

    def _said(self, error: EngineError | RegistryError) -> ApiError:
        if isinstance(error, AdapterCapacityExceeded | EngineOverloaded):
            reason: Reason = "engine" if isinstance(error, EngineOverloaded) else "adapter"
            return self._ports.admission.refusal(self.card.id, self.tier, reason)
        return from_domain(error, self._model.id, field=self._field)


def _most_tokens(job: Job, prompt: Prompt) -> int:
    return prompt.tokens + (0 if job.sampling.max_tokens is None else prompt.max_tokens)


def _lease_headers(lease: Lease) -> dict[str, str]:
    """Say which weights answer, where they were found and how long having them took."""
    return {
        "x-adapter-digest": lease.adapter.version.digest,
        "x-adapter-tier": lease.tier,
        "x-adapter-wait-ms": f"{lease.wait_seconds * 1000:.1f}",
    }
