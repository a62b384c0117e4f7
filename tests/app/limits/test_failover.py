"""What happens to charges while the shared counters fail, counted by an in-memory stand-in."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog

from app.limits.counters import Addition, CountersUnavailable, MemoryCounters
from app.limits.failover import FailoverCounters
from tests.app.limits.world import Clock, Observer

ONE = [Addition("key", 1, 60)]


class Flaky(MemoryCounters):
    """Shared counters that fail when told to; `gate` holds calls up."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.fails = False
        self.calls = 0
        self.is_closed = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def add(self, additions: Sequence[Addition]) -> list[int]:
        self.calls += 1
        await self.gate.wait()
        if self.fails:
            raise CountersUnavailable("ConnectionError")
        return await super().add(additions)

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def shared(clock: Clock) -> Flaky:
    return Flaky(clock)


@pytest.fixture
def local(clock: Clock) -> MemoryCounters:
    return MemoryCounters(clock)


@pytest.fixture
def counters(
    shared: Flaky, local: MemoryCounters, observer: Observer, clock: Clock
) -> FailoverCounters:
    return FailoverCounters(shared, local, observer, retry_seconds=5, clock=clock)


async def test_shared_counters_are_used_while_they_answer(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters
) -> None:
    assert await counters.charge(ONE) == (shared, [1])
    assert await counters.charge(ONE) == (shared, [2])
    assert len(local) == 0


async def test_a_failure_is_counted_locally_and_heard_of(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters, observer: Observer
) -> None:
    shared.fails = True
    assert await counters.charge(ONE) == (local, [1])
    assert observer.failures == 1


async def test_a_server_that_failed_is_left_alone_for_a_while(
    counters: FailoverCounters, shared: Flaky, clock: Clock
) -> None:
    shared.fails = True
    for _ in range(100):
        await counters.charge(ONE)
    assert shared.calls == 1
    clock.now += 5
    await counters.charge(ONE)
    await counters.charge(ONE)
    assert shared.calls == 2


async def test_a_server_that_answers_again_is_used_again(
    counters: FailoverCounters, shared: Flaky, clock: Clock
) -> None:
    shared.fails = True
    await counters.charge(ONE)
    shared.fails = False
    clock.now += 5
    assert await counters.charge(ONE) == (shared, [1])
    assert await counters.charge(ONE) == (shared, [2])


async def test_only_one_request_at_a_time_waits_for_a_server_that_failed(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters, clock: Clock
) -> None:
    shared.fails = True
    await counters.charge(ONE)
    clock.now += 5
    shared.gate.clear()
    probe = asyncio.ensure_future(counters.charge(ONE))
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        places = [(await counters.charge(ONE))[0] for _ in range(10)]
    assert places == [local] * 10
    shared.gate.set()
    await probe


async def test_an_outage_is_logged_once_at_its_start_and_once_at_its_end(
    counters: FailoverCounters, shared: Flaky, clock: Clock
) -> None:
    with structlog.testing.capture_logs() as logs:
        shared.fails = True
        for _ in range(5):
            await counters.charge(ONE)
            clock.now += 5
        shared.fails = False
        for _ in range(5):
            await counters.charge(ONE)
    assert [entry["log_level"] for entry in logs] == ["error", "warning"]
    assert logs[0]["reason"] == "ConnectionError"


async def test_a_straggler_that_succeeds_does_not_end_an_outage(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters
) -> None:
    shared.gate.clear()
    straggler = asyncio.ensure_future(counters.charge(ONE))
    await asyncio.sleep(0)
    shared.gate, held = asyncio.Event(), shared.gate
    shared.gate.set()
    shared.fails = True
    await counters.charge(ONE)
    shared.fails = False
    held.set()
    assert (await straggler)[0] is shared
    assert (await counters.charge(ONE))[0] is local


async def test_a_correction_goes_where_the_charge_was_made(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters, clock: Clock
) -> None:
    shared.fails = True
    place, _ = await counters.charge(ONE)
    shared.fails = False
    clock.now += 5
    await counters.charge(ONE)
    assert await counters.correct(place, [Addition("key", -1, 60)]) == [0]
    assert await shared.add([Addition("key", 0, 60)]) == [1]


async def test_a_correction_that_cannot_be_made_is_given_up_without_a_wait(
    counters: FailoverCounters, shared: Flaky
) -> None:
    place, _ = await counters.charge(ONE)
    shared.fails = True
    await counters.charge(ONE)
    calls = shared.calls
    assert await counters.correct(place, ONE) is None
    assert shared.calls == calls


async def test_a_correction_that_fails_begins_an_outage(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters, observer: Observer
) -> None:
    place, _ = await counters.charge(ONE)
    shared.fails = True
    assert await counters.correct(place, ONE) is None
    assert observer.failures == 1
    assert (await counters.charge(ONE))[0] is local


async def test_nothing_to_change_asks_nobody_and_proves_nothing(
    counters: FailoverCounters, shared: Flaky, local: MemoryCounters, clock: Clock
) -> None:
    shared.fails = True
    await counters.charge(ONE)
    clock.now += 5
    assert await counters.charge([]) == (local, [])
    assert shared.calls == 1


async def test_closing_closes_the_shared_counters(
    counters: FailoverCounters, shared: Flaky
) -> None:
    await counters.close()
    assert shared.is_closed
