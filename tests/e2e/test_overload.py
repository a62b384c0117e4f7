"""More requests than the engine can take: who is refused is told at once, who is not is served."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from statistics import median, quantiles

import psutil
import pytest
import pytest_asyncio
from sqlalchemy.ext.asyncio import async_sessionmaker

from adapters_registry.testing import until
from app.adapters.resolver import ModelResolver
from app.auth.authenticator import Caller
from app.errors import ApiError
from app.inference.admission import BoundedAdmission
from app.inference.context import RequestContext
from app.inference.generation import Generation
from app.inference.serving import Inference, Ports
from app.inference.tiers import AskedTier
from app.limits.limiter import make_rate_limits
from app.observability.metrics import Metrics
from app.usage.tally import Tally
from tests.fixtures.engines import GREEDY, MODEL_ID, TinyEngine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]

TOKENS = 32
RUNNING = 32
SECONDS_OF_OVERLOAD = 4.0
TIMES = 10


@dataclass
class Requests:
    """What became of requests; moments are seconds of one clock."""

    inference: Inference
    tiny: TinyEngine
    first_tokens: list[tuple[float, AskedTier]] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    refused_after: list[float] = field(default_factory=list)
    refusals: list[ApiError] = field(default_factory=list)
    _sent: int = 0

    async def send(self, tier: AskedTier = "on_demand", tokens: int = TOKENS) -> None:
        self._sent += 1
        context = RequestContext(Caller("org_1", "key_1"), f"req_{id(self)}_{self._sent}")
        begun = time.perf_counter()
        try:
            await self._answer(context, tier, tokens, begun)
        except ApiError as error:
            self.refused_after.append(time.perf_counter() - begun)
            self.refusals.append(error)

    async def _answer(
        self, context: RequestContext, tier: AskedTier, tokens: int, begun: float
    ) -> None:
        job = self.tiny.job(f"Say {self._sent}.", sampling=replace(GREEDY, max_tokens=tokens))
        is_first = True
        async with (
            self.inference.open(Generation, context, MODEL_ID, tier) as served,
            aclosing(served.generate(await served.prepare(job))) as deltas,
        ):
            async for _ in deltas:
                if is_first:
                    now = time.perf_counter()
                    self.first_tokens.append((now, tier))
                    self.waited.append(now - begun)
                    is_first = False

    async def offer(self, rate: float, seconds: float) -> None:
        """Send so many a second, whether or not earlier ones have been answered."""
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            while (elapsed := time.perf_counter() - begun) < seconds:
                for _ in range(int(elapsed * rate) - self._sent):
                    tasks.create_task(self.send())
                await asyncio.sleep(0.01)


@pytest.fixture
def admission(tiny_engine: TinyEngine) -> BoundedAdmission:
    assert tiny_engine.engine.card.max_running == RUNNING
    return BoundedAdmission([tiny_engine.engine.card], queue=1.0, reserve=0.1)


@pytest_asyncio.fixture(loop_scope="session")
async def inference(
    tiny_engine: TinyEngine, admission: BoundedAdmission
) -> AsyncIterator[Inference]:
    metrics = Metrics()
    limits = make_rate_limits(None, metrics, storage_url=None, timeout_seconds=1, retry_seconds=1)
    yield Inference(
        Ports(
            resolver=ModelResolver(tiny_engine.engines.running, async_sessionmaker()),
            adapters=_NoAdapters(),
            limits=limits,
            admission=admission,
            observer=metrics,
            ledger=Tally(),
            salt=lambda org: org,
        )
    )
    await limits.close()


class _NoAdapters:
    """Base models need no lease."""

    def lease(self, *args: object, **options: object) -> None:  # type: ignore[override]
        raise AssertionError("no adapter is asked for")


def inside(admission: BoundedAdmission) -> int:
    return sum(admission.stats()[MODEL_ID].inside.values())


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98]


def _spread(values: Sequence[float]) -> str:
    cuts = quantiles(values, n=100)
    return f"p50 {cuts[49]:.4f} p95 {cuts[94]:.4f} p99 {cuts[98]:.4f} max {max(values):.4f} s"


async def test_ten_times_what_the_engine_can_take_is_refused_at_once_and_the_rest_is_served(
    tiny_engine: TinyEngine, inference: Inference, admission: BoundedAdmission
) -> None:
    process = psutil.Process()
    calm = Requests(inference, tiny_engine)
    begun = time.perf_counter()
    for _ in range(2):
        await asyncio.gather(*(calm.send() for _ in range(RUNNING)))
    rate = 2 * RUNNING / (time.perf_counter() - begun)
    whole = RUNNING / rate
    memory = process.memory_info().rss

    storm = Requests(inference, tiny_engine)
    await storm.offer(TIMES * rate, SECONDS_OF_OVERLOAD)

    statuses = {(error.status, error.code) for error in storm.refusals}
    waits = {int(error.headers["retry-after"]) for error in storm.refusals}
    print(
        f"calm: {rate:.0f}/s, answer {whole:.2f} s, first token {_spread(calm.waited)}\n"
        f"storm: {storm._sent} sent, {len(storm.waited)} served, first token "
        f"{_spread(storm.waited)}; refused after {_spread(storm.refused_after)}, retry-after "
        f"{sorted(waits)}; memory +{(process.memory_info().rss - memory) / 2**20:.1f} MiB"
    )
    assert statuses == {(503, None)}
    assert waits <= set(range(1, 61))
    assert len(storm.refusals) > storm._sent / 2
    assert p99(storm.refused_after) < 1
    assert len(storm.waited) >= 0.4 * rate * SECONDS_OF_OVERLOAD
    # A queue of as many as run waits for one of their answers; the rest is for a busy machine.
    assert median(storm.waited) < 3 * whole + max(calm.waited)
    assert quantiles(storm.waited, n=20)[18] < 10 * whole
    assert process.memory_info().rss - memory < 64 << 20
    assert inside(admission) == 0


async def test_flex_is_refused_at_once_while_on_demand_waits_and_performance_overtakes_it(
    tiny_engine: TinyEngine, inference: Inference, admission: BoundedAdmission
) -> None:
    requests = Requests(inference, tiny_engine)
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2 * RUNNING):
            tasks.create_task(requests.send())
        await until(lambda: requests.first_tokens)
        assert inside(admission) == 2 * RUNNING
        for tier in ("flex", "on_demand", "performance"):
            tasks.create_task(requests.send(tier))
    # Of those that are still rendered, one may lose its place to the on_demand request.
    refused = Counter((error.status, error.code) for error in requests.refusals)
    assert refused[498, "capacity_exceeded"] == 1
    assert refused[503, None] >= 1
    assert max(requests.refused_after) < 1
    tiers = [tier for _, tier in sorted(requests.first_tokens)]
    assert tiers.index("performance") < 1.5 * RUNNING


async def test_what_goes_away_in_the_queue_or_at_work_frees_its_place(
    tiny_engine: TinyEngine, inference: Inference, admission: BoundedAdmission
) -> None:
    requests = Requests(inference, tiny_engine)
    sent = [asyncio.create_task(requests.send(tokens=500)) for _ in range(2 * RUNNING)]
    await until(lambda: requests.first_tokens)
    for task in sent:
        task.cancel()
    await asyncio.gather(*sent, return_exceptions=True)
    assert inside(admission) == 0
    await requests.send("flex")
    assert requests.refusals == []
