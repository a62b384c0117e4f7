"""One request's life at a model, whatever its kind and wire shape.

Owns the order of things: resolve the model, count the request, prepare, reserve, admit, lease the
adapter, run, settle. Admission and lease live exactly as long as a run, and the budget is settled
once, however the request ends. What a run is stands in the subclasses of `Served`, one a task.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from adapters_registry.errors import AdapterCapacityExceeded, RegistryError
from adapters_registry.types import AdapterVersion, Lease, LoadedAdapter
from app.adapters.resolver import ResolvedModel
from app.engine.base import EngineError, EngineOverloaded, ModelCard, Run
from app.errors import ApiError, from_domain, invalid_request, wrong_task
from app.inference.context import RequestContext
from app.inference.gate import Reason
from app.inference.ports import AdapterLeases, Admission, Budget, Limits, Observer, Resolver
from app.inference.spare import Displaced, Line
from app.inference.tiers import PRIORITIES, AskedTier, Tier, wanted
from app.limits.windows import pool
from app.tasks import Task
from app.usage.types import Account, Amounts, Ledger

NO_ROOM = (413, 429)
"""Statuses of a limit that is used up, or too small for the request."""

GIVE_WAY_SECONDS = 1.0
"""How long flex waits for a turn that batch lines are giving up."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What requests are served with. `salt` gives an organisation's prefix-cache salt."""

    resolver: Resolver
    adapters: AdapterLeases
    limits: Limits
    admission: Admission
    observer: Observer
    ledger: Ledger
    salt: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Request:
    """What is served: who asks for which model, since when, and at which tiers, best first.

    `field` is where the caller wrote what the model is given; errors name it.
    """

    context: RequestContext
    model: ResolvedModel
    tiers: list[Tier]
    started: float
    field: str


class Served:
    """A model, opened to one request."""

    task: ClassVar[Task]
    field: ClassVar[str]
    """Where callers write what the model is given, if a resource does not call it otherwise."""

    def __init__(self, ports: Ports, request: Request) -> None:
        self._ports = ports
        self._context = request.context
        self._model = request.model
        self._tiers = request.tiers
        self._started = request.started
        self._field = request.field
        self._interruption = asyncio.timeout(None)
        self._budget: Budget | None = None
        self._runs = 0
        self._used = Amounts()

    @property
    def id(self) -> str:
        """The model's immutable id, also where an alias was asked for."""
        return self._model.id

    @property
    def card(self) -> ModelCard:
        return self._model.engine.card

    @property
    def tier(self) -> Tier:
        """The tier that the request is served at: of those left to try, the first."""
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

    async def reserve(self, tokens: int) -> None:
        """Take tokens from the limits, once in a request. **Raises:** ApiError 413, 429."""
        await self._reserve(lambda budget: budget.reserve_tokens(tokens))

    @asynccontextmanager
    async def charging_seconds(self, seconds: float) -> AsyncIterator[None]:
        """Take seconds of audio from the limits; what the block fails at gives them back.

        Who goes away before its end pays for them. **Raises:** ApiError 413, 429.
        """
        await self._reserve(lambda budget: budget.reserve_seconds(seconds))
        try:
            yield
        except ApiError:
            self._used = Amounts()
            await self._counted.return_seconds()
            raise

    async def _reserve(self, take: Callable[[Budget], Awaitable[None]]) -> None:
        while True:
            try:
                await self._take(take)
                return
            except ApiError as error:
                self._next_tier_or(error)
                await self.count()

    async def settle(self) -> None:
        """Give back what was reserved and not used; with the budget's last state in the headers.

        What was used is recorded first: it counts, whatever becomes of the rest.
        """
        if self._interruption.expired():
            self._used = Amounts()
        self._record()
        if self._budget is not None:
            await self._budget.settle(tokens=self._charged_tokens)
            self._context.headers.update(self._budget.headers)

    @property
    def _charged_tokens(self) -> int:
        used = self._used
        return used.prompt_tokens - used.cached_tokens + used.completion_tokens

    def _use(self, amounts: Amounts) -> None:
        """Take note of what the caller is charged; not of what the server fails at."""
        self._used = self._used.plus(amounts)

    def _record(self) -> None:
        if not any(self._used):
            return
        caller, is_batch = self._context.caller, self._context.is_batch
        adapter = "" if self._model.version is None else self._model.id
        account = Account(caller.org_id, caller.key_id, self.card.id, adapter, is_batch)
        ledger = self._ports.ledger if self._context.ledger is None else self._context.ledger
        amounts = self._used._replace(requests=1)
        ledger.record(account, amounts)
        self._ports.observer.used(account, amounts)

    def _first_token(self, seconds: float) -> None:
        self._ports.observer.first_token(self.card.id, seconds)
        if self._model.version is not None:
            self._ports.observer.adapter_first_token(self.card.id, self._model.id, seconds)

    @asynccontextmanager
    async def interruptible(self) -> AsyncIterator[None]:
        """Let a batch line be ended while it holds a place. **Raises:** Displaced."""
        if not self._context.is_batch:
            yield
            return
        try:
            # Round all of the line: what awaits its answer would otherwise be cancelled for good.
            async with self._interruption:
                yield
        except TimeoutError:
            if self._interruption.expired():
                raise Displaced from None
            raise

    @contextmanager
    def preparing(self, tokens: int) -> Iterator[None]:
        """Hold a place while about so many tokens are prepared; batch lines need none.

        **Raises:** ApiError.
        """
        if self._context.is_batch:
            with self._in_words():
                yield
            return
        # A prompt of more is refused by the engine, and no reason to try again later.
        tokens = min(tokens, self.card.context_window)
        with self._in_words(), self._ports.admission.rendering(self.card.id, self.tier, tokens):
            yield

    @asynccontextmanager
    async def running(self, tokens: int) -> AsyncIterator[Run]:
        """Hold a place in the engine for a prompt of so many tokens, and the adapter's weights.

        **Raises:** ApiError, and nothing else that an engine or the registry raises.
        """
        run_id = f"{self._context.id}-{self._runs}" if self._runs else self._context.id
        self._runs += 1
        with self._in_words():
            async with AsyncExitStack() as stack:
                enter = self._entered_as_line if self._context.is_batch else self._entered
                yield Run(run_id, await enter(stack, tokens), PRIORITIES[self.tier])

    async def _entered(self, stack: AsyncExitStack, tokens: int) -> LoadedAdapter | None:
        admission, model = self._ports.admission, self.card.id
        stack.enter_context(admission.enter(model, self.tier, tokens))
        if self._model.version is None:
            return None
        lines_leave = stack.enter_context(admission.turn(model, self._model.version))
        if self.tier != "flex":
            return await self._adapter(stack, self._model.version, None)
        # Flex takes what is free at once, and never waits for anybody's turn to end.
        wait_seconds = GIVE_WAY_SECONDS if lines_leave else 0.0
        return await self._adapter(stack, self._model.version, wait_seconds)

    async def _entered_as_line(self, stack: AsyncExitStack, tokens: int) -> LoadedAdapter | None:
        """Wait for a place, and with it for the adapter; try again where only one is to be had."""
        admission, model, version = self._ports.admission, self.card.id, self._model.version
        line = Line(self._context.id, tokens, version, self._give_way)
        while True:
            with suppress(AdapterCapacityExceeded):
                async with AsyncExitStack() as attempt:
                    await attempt.enter_async_context(admission.spare(model, line))
                    adapter = None
                    if version is not None:
                        adapter = await self._adapter(attempt, version, 0.0)
                        admission.has_turn(model, version)
                    await stack.enter_async_context(attempt.pop_all())
                    return adapter

    def _give_way(self) -> None:
        if not self._interruption.expired():
            self._interruption.reschedule(asyncio.get_running_loop().time())

    async def _adapter(
        self, stack: AsyncExitStack, version: AdapterVersion, wait_seconds: float | None
    ) -> LoadedAdapter:
        leasing = self._ports.adapters.lease(
            version, wait_seconds=wait_seconds, gives_way=self._context.is_batch
        )
        lease = await stack.enter_async_context(leasing)
        self._ports.observer.leased(lease)
        self._context.headers.update(_lease_headers(lease))
        return lease.adapter

    async def _open_budget(self) -> None:
        caller, model = self._context.caller, self.card.id
        budget = await self._ports.limits.open(caller.org_id, caller.plan, model, self.tier)
        self._budget = budget
        self._context.headers.update(budget.headers)

    async def _take(self, take: Callable[[Budget], Awaitable[None]]) -> None:
        budget = self._counted
        try:
            await take(budget)
        finally:
            self._context.headers.update(budget.headers)

    @property
    def _counted(self) -> Budget:
        assert self._budget is not None, "the request was counted"
        return self._budget

    def _next_tier_or(self, error: ApiError) -> None:
        others = [tier for tier in self._tiers if pool(tier) != pool(self.tier)]
        if error.status not in NO_ROOM or not others:
            self._tell_refused(error)
            raise error
        self._tiers = others

    def _tell_refused(self, error: ApiError) -> None:
        if error.status in NO_ROOM:
            org_id, model = self._context.caller.org_id, self.card.id
            self._ports.observer.limit_refused(org_id, model, self.tier, error.type)

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


S = TypeVar("S", bound=Served)


class Inference:
    """Opens models to requests."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    @asynccontextmanager
    async def open(
        self,
        kind: type[S],
        context: RequestContext,
        model: str,
        tier: AskedTier | None = None,
        *,
        field: str | None = None,
    ) -> AsyncIterator[S]:
        """Have a model of that kind to ask until the block ends; the request counts from here.

        A batch line is served at the batch tier whatever is asked, and waits where others are
        refused. **Raises:** ApiError: the model is unknown, not started or of another kind, the
        tier not the caller's, a limit reached; Displaced, only in a batch line.
        """
        started = time.perf_counter()
        resolved = await self._ports.resolver.resolve(context.caller.org_id, model)
        if resolved.engine.card.task != kind.task:
            raise wrong_task(model, kind.task)
        tiers = self._tiers(context, tier)
        served = kind(self._ports, Request(context, resolved, tiers, started, field or kind.field))
        if not context.is_batch:
            self._ports.admission.check(served.card.id, served.tier)
        async with served.interruptible():
            await served.count()
            try:
                yield served
            finally:
                await served.settle()

    def _tiers(self, context: RequestContext, asked: AskedTier | None) -> list[Tier]:
        if context.is_batch:
            return ["batch"]
        plan = context.caller.plan
        tiers = [tier for tier in wanted(asked) if self._ports.limits.allows(plan, tier)]
        if not tiers:
            message = f"The service tier `{asked or 'on_demand'}` is not available on your plan."
            raise invalid_request(message, param="service_tier", code="not_available_for_plan")
        return tiers


def _lease_headers(lease: Lease) -> dict[str, str]:
    """Say which weights answer, where they were found and how long having them took."""
    return {
        "x-adapter-digest": lease.adapter.version.digest,
        "x-adapter-tier": lease.tier,
        "x-adapter-wait-ms": f"{lease.wait_seconds * 1000:.1f}",
    }
