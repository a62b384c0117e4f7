"""What counters on a server must do beyond what all counters do: bursts, silence, addresses."""

import asyncio

import pytest

from app.ids import new_id
from app.limits.counters import Addition, CountersUnavailable
from app.limits.shared_counters import KEY_PREFIX, REQUESTS_AT_ONCE, SharedCounters
from deploy.quickstart.ports import free_port
from tests.fixtures.redis import RedisServer


@pytest.fixture
def key() -> str:
    return new_id("org")


async def test_a_counter_lives_as_long_as_its_window(redis: RedisServer, key: str) -> None:
    counters = SharedCounters(redis.url, timeout_seconds=10)
    await counters.add([Addition(key, 5, 60)])
    assert 55 <= await redis.seconds_left(f"{KEY_PREFIX}:{key}") <= 60
    await counters.close()


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
async def test_valkeys_scheme_is_understood(redis: RedisServer, key: str, scheme: str) -> None:
    url = redis.url.replace("redis", scheme, 1)
    counters = SharedCounters(url, timeout_seconds=10)
    assert await counters.add([Addition(key, 3, 60)]) == [3]
    await counters.close()


async def test_a_server_that_is_not_there_is_said_without_its_address() -> None:
    url = f"redis://user:hunter2@127.0.0.1:{free_port()}/0"
    counters = SharedCounters(url, timeout_seconds=10)
    with pytest.raises(CountersUnavailable) as caught:
        await counters.add([Addition("key", 1, 60)])
    assert str(caught.value) == "ConnectionError"
    await counters.close()


async def test_a_server_that_never_answers_is_given_up(silent_port: int) -> None:
    counters = SharedCounters(f"redis://127.0.0.1:{silent_port}", timeout_seconds=0.05)
    async with asyncio.timeout(5):
        with pytest.raises(CountersUnavailable, match="TimeoutError"):
            await counters.add([Addition("key", 1, 60)])
    await counters.close()


async def test_who_waits_behind_a_call_that_fails_waits_no_longer(silent_port: int) -> None:
    counters = SharedCounters(f"redis://127.0.0.1:{silent_port}", timeout_seconds=0.5)
    calls = (counters.add([Addition("key", 1, 60)]) for _ in range(10 * REQUESTS_AT_ONCE))
    async with asyncio.timeout(4.5):  # one after the other they would take 5 s
        answers = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(answer) for answer in answers} == {CountersUnavailable}
    await counters.close()


async def test_a_burst_larger_than_one_call_is_counted_whole(redis: RedisServer, key: str) -> None:
    counters = SharedCounters(redis.url, timeout_seconds=10)
    number = 3 * REQUESTS_AT_ONCE + 1
    answers = await asyncio.gather(*(counters.add([Addition(key, 2, 60)]) for _ in range(number)))
    assert answers == [[2 * (place + 1)] for place in range(number)]
    await counters.close()


async def test_those_who_go_together_are_told_their_own_counts(
    redis: RedisServer, key: str
) -> None:
    counters = SharedCounters(redis.url, timeout_seconds=10)
    await counters.add([Addition(key, 100, 60)])
    calls = (counters.add([Addition(key, amount, 60)]) for amount in (5, -3, 0, 10))
    assert await asyncio.gather(*calls) == [[105], [102], [102], [112]]
    await counters.close()


async def test_a_change_that_is_cancelled_before_it_is_sent_is_not_made(
    redis: RedisServer, key: str
) -> None:
    counters = SharedCounters(redis.url, timeout_seconds=10)
    first, second = (
        asyncio.ensure_future(counters.add([Addition(key, amount, 60)])) for amount in (1, 10)
    )
    await asyncio.sleep(0)
    second.cancel()
    assert await first == [1]
    assert await counters.add([Addition(key, 100, 60)]) == [101]
    await counters.close()


async def test_closing_ends_what_still_waits(silent_port: int) -> None:
    counters = SharedCounters(f"redis://127.0.0.1:{silent_port}", timeout_seconds=60)
    call = asyncio.ensure_future(counters.add([Addition("key", 1, 60)]))
    await asyncio.sleep(0.01)
    await counters.close()
    with pytest.raises(CountersUnavailable, match="Closed"):
        await call
