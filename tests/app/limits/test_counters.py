"""Counters, in memory and on Redis alike; and what only those in memory must watch."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.ids import new_id
from app.limits.counters import (
    Addition,
    Counters,
    MemoryCounters,
)
from app.limits.shared_counters import SharedCounters
from tests.app.limits.conftest import Place
from tests.app.limits.world import Clock
from tests.stopwatch import cpu_time


@pytest.fixture
def key() -> str:
    return new_id("org")


@pytest.fixture
async def place_of_counting(
    place: Place, request: pytest.FixtureRequest, clock: Clock
) -> AsyncIterator[Counters]:
    counters: Counters = MemoryCounters(clock)
    if place == "redis":
        counters = SharedCounters(request.getfixturevalue("redis").url, timeout_seconds=10)
    yield counters
    await counters.close()


async def test_counts_add_up_and_go_down_again(place_of_counting: Counters, key: str) -> None:
    counts = [
        (await place_of_counting.add([Addition(key, amount, 60)]))[0]
        for amount in (5, 0, 7, -2, -10)
    ]
    assert counts == [5, 5, 12, 10, 0]


async def test_several_counters_are_changed_and_answered_in_order(
    place_of_counting: Counters, key: str
) -> None:
    additions = [Addition(f"{key}/{number}", number, 60) for number in range(100)]
    assert await place_of_counting.add(additions) == list(range(100))


async def test_additions_side_by_side_all_count_and_no_count_is_told_twice(
    place_of_counting: Counters, key: str
) -> None:
    additions = (place_of_counting.add([Addition(key, 1, 60)]) for _ in range(200))
    counts = [count for (count,) in await asyncio.gather(*additions)]
    assert sorted(counts) == list(range(1, 201))


async def test_a_counter_in_memory_is_forgotten_at_its_time_and_not_before(key: str) -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    await counters.add([Addition(key, 5, 60)])
    clock.now += 59
    assert await counters.add([Addition(key, 1, 60)]) == [6]
    clock.now += 1
    assert await counters.add([Addition(key, 1, 60)]) == [1]


async def test_memory_holds_nothing_but_what_may_still_be_asked_for() -> None:
    clock = Clock()
    counters = MemoryCounters(clock)
    for minute in range(100):
        await counters.add([Addition(f"{minute}/{number}", 1, 60) for number in range(50)])
        clock.now += 60
    assert len(counters) <= 100


async def test_a_counter_costs_the_same_among_many() -> None:
    counters = MemoryCounters()
    await counters.add([Addition(str(number), 1, 3600) for number in range(200_000)])
    with cpu_time() as watch:
        for number in range(1000):
            await counters.add([Addition(str(number), 1, 3600)])
    assert watch.seconds < 0.1
