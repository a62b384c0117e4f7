"""Several processes' limits on one real Redis: one budget, also when the server dies."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from app.ids import new_id
from app.limits.counters import MemoryCounters
from app.limits.failover import FailoverCounters
from app.limits.limiter import make_rate_limits
from app.limits.shared_counters import SharedCounters
from tests.app.limits.world import MODEL, Clock, Observer, Tenant, plans_of
from tests.fixtures.redis import RedisServer, running_redis

Replica = Callable[..., Tenant]


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that the test may kill."""
    with running_redis(tmp_path) as server:
        yield server


@pytest.fixture
async def replica(org_id: str, clock: Clock, observer: Observer) -> AsyncIterator[Replica]:
    """Makes the same organisation's limits anew, as another process has them."""
    opened: list[FailoverCounters] = []

    def make(server: RedisServer, *, timeout_seconds: float = 10, **limits: int) -> Tenant:
        counters = FailoverCounters(
            SharedCounters(server.url, timeout_seconds=timeout_seconds),
            MemoryCounters(clock),
            observer,
            retry_seconds=5,
            clock=clock,
        )
        opened.append(counters)
        return Tenant(org_id, counters, clock, **limits)

    yield make
    for counters in opened:
        await counters.close()


async def test_two_replicas_share_one_budget(redis: RedisServer, replica: Replica) -> None:
    one, two = replica(redis, tpm=100, rpd=10), replica(redis, tpm=100, rpd=10)
    assert await one.refusal(tokens=60) is None
    assert await two.refusal(tokens=60) is not None
    assert await two.refusal(tokens=40) is None
    assert await one.left("requests") == 10 - 4


async def test_parallel_requests_on_two_replicas_get_exactly_the_limit(
    redis: RedisServer, replica: Replica
) -> None:
    tenants = [replica(redis, tpm=1000) for _ in range(2)]
    refusals = await asyncio.gather(
        *(tenant.refusal(tokens=30) for _ in range(50) for tenant in tenants)
    )
    assert refusals.count(None) == 1000 // 30


async def test_what_one_replica_settles_the_other_may_use(
    redis: RedisServer, replica: Replica
) -> None:
    one, two = replica(redis, tpm=100), replica(redis, tpm=100)
    budget = await one.open()
    await budget.reserve_tokens(100)
    assert await two.refusal(tokens=70) is not None
    await budget.settle(tokens=30)
    assert await two.refusal(tokens=70) is None


async def test_requests_go_on_while_the_server_is_dead_and_share_again_when_it_is_back(
    own_redis: RedisServer, replica: Replica, clock: Clock, observer: Observer
) -> None:
    one, two = replica(own_redis, tpm=100), replica(own_redis, tpm=100)
    assert await one.refusal(tokens=100) is None
    own_redis.kill()
    # Each counts by itself now, from nothing, and still no more than the limit.
    for tenant in (one, two):
        assert await tenant.refusal(tokens=60) is None
        assert await tenant.refusal(tokens=60) is not None
    assert observer.failures == 2
    own_redis.start()
    clock.now += 5
    assert await one.refusal(tokens=60) is None
    assert await two.refusal(tokens=60) is not None
    assert observer.failures == 2


async def test_a_budget_whose_server_died_settles_without_an_error_or_a_wait(
    own_redis: RedisServer, replica: Replica, observer: Observer
) -> None:
    tenant = replica(own_redis, tpm=100)
    budget = await tenant.open()
    await budget.reserve_tokens(100)
    own_redis.kill()
    await budget.settle(tokens=10)
    assert observer.failures == 1
    assert await tenant.refusal(tokens=100) is None


async def test_nobody_gains_by_settling_on_a_server_that_lost_its_counts(
    own_redis: RedisServer, replica: Replica
) -> None:
    tenant = replica(own_redis, tpm=100)
    budget = await tenant.open()
    await budget.reserve_tokens(100)
    own_redis.kill()
    own_redis.start()
    await budget.settle(tokens=10)
    assert await tenant.refusal(tokens=100) is None
    assert await tenant.refusal(tokens=1) is not None


async def test_a_server_that_restarted_between_requests_is_no_outage(
    own_redis: RedisServer, replica: Replica, observer: Observer
) -> None:
    tenant = replica(own_redis, tpm=100)
    assert await tenant.refusal(tokens=10) is None
    own_redis.kill()
    own_redis.start()
    assert await tenant.refusal(tokens=10) is None
    assert observer.failures == 0


async def test_a_server_that_hangs_costs_each_process_one_time_out(
    own_redis: RedisServer, replica: Replica, observer: Observer
) -> None:
    tenant = replica(own_redis, timeout_seconds=0.2, tpm=1000, rpd=1000)
    await tenant.refusal(tokens=10)
    loop = asyncio.get_running_loop()
    with own_redis.paused():
        began = loop.time()
        for _ in range(50):
            assert await tenant.refusal(tokens=10) is None
        assert 0.2 <= loop.time() - began < 2
    assert observer.failures == 1


async def test_a_client_that_goes_away_in_the_middle_leaves_the_limits_working(
    redis: RedisServer, replica: Replica, observer: Observer
) -> None:
    tenant = replica(redis, rpd=1000)
    for steps in range(60):
        request = asyncio.ensure_future(tenant.open())
        for _ in range(steps % 12):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    assert 1000 - 61 <= await tenant.left("requests") <= 999
    assert observer.failures == 0


async def test_limits_are_made_from_settings(redis: RedisServer, observer: Observer) -> None:
    org_id = new_id("org")
    remaining = []
    for url in (redis.url, redis.url, None):
        limits = make_rate_limits(
            plans_of(rpd=10), observer, storage_url=url, timeout_seconds=10, retry_seconds=5
        )
        budget = await limits.open(org_id, None, MODEL, "on_demand")
        remaining.append(budget.headers["x-ratelimit-remaining-requests"])
        await limits.close()
    assert remaining == ["9", "8", "9"]
