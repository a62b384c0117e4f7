"""What organisations share is given out in order, within the bounds, and comes back."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.errors import ApiError
from app.shares import Shares


def _shares(most: int = 8, each: int = 4, wait_seconds: float = 5.0) -> Shares:
    return Shares(most, each, wait_seconds=wait_seconds, refusal="Too much.")


class Holder:
    """Holds an amount in a task of its own until it is told to let go."""

    def __init__(self, shares: Shares, org_id: str, amount: int = 1) -> None:
        self.has = asyncio.Event()
        self.let_go = asyncio.Event()
        self.task = asyncio.ensure_future(self._hold(shares, org_id, amount))

    async def _hold(self, shares: Shares, org_id: str, amount: int) -> None:
        async with shares.hold(org_id, amount):
            self.has.set()
            await self.let_go.wait()

    async def end(self) -> None:
        self.let_go.set()
        await self.task


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _has(*holders: Holder) -> list[bool]:
    await _settled()
    return [holder.has.is_set() for holder in holders]


async def test_one_organisation_has_its_share_and_no_more():
    shares = _shares()
    mine = [Holder(shares, "a", 2) for _ in range(3)]
    other = Holder(shares, "b", 4)
    assert await _has(*mine, other) == [True, True, False, True]
    await mine[0].end()
    assert await _has(mine[2]) == [True]
    for holder in (*mine[1:], other):
        await holder.end()


async def test_all_organisations_together_have_a_bound():
    shares = _shares()
    holders = [Holder(shares, name, 3) for name in "abc"]
    assert await _has(*holders) == [True, True, False]
    assert shares.held == {"a": 3, "b": 3}
    await holders[0].end()
    assert await _has(holders[2]) == [True]
    for holder in holders[1:]:
        await holder.end()


async def test_a_large_claim_is_not_passed_by_small_ones_for_ever():
    shares = _shares()
    first = [Holder(shares, "a", 4), Holder(shares, "b", 2)]
    large, small = Holder(shares, "c", 3), Holder(shares, "d", 1)
    assert await _has(*first, large, small) == [True, True, False, False]
    await first[0].end()
    assert await _has(large, small) == [True, True]
    for holder in (first[1], large, small):
        await holder.end()


async def test_who_holds_nothing_is_forgotten():
    shares = _shares()
    async with shares.hold("a", 3):
        async with shares.hold("a", 1), shares.hold("b", 2):
            assert shares.held == {"a": 4, "b": 2}
        assert shares.held == {"a": 3}
    assert shares.held == {}


async def test_what_does_not_come_in_time_is_a_503():
    shares = _shares(wait_seconds=0.02)
    async with shares.hold("a", 4):
        with pytest.raises(ApiError) as caught:
            async with shares.hold("a", 1):
                pass
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "1"})
    assert caught.value.message == "Too much. Please try again later."
    assert shares.held == {}


async def test_what_a_failed_holder_had_comes_back():
    shares = _shares()
    with pytest.raises(ZeroDivisionError):
        async with shares.hold("a", 4):
            raise ZeroDivisionError
    assert shares.held == {}


async def test_who_is_cancelled_gives_back_and_lets_the_next_through():
    shares = _shares()
    holder, waiting, behind = (Holder(shares, "a", amount) for amount in (3, 4, 1))
    assert await _has(holder, waiting, behind) == [True, False, False]
    waiting.task.cancel()
    assert await _has(waiting, behind) == [False, True]
    holder.task.cancel()
    await asyncio.gather(holder.task, waiting.task, return_exceptions=True)
    await behind.end()
    assert shares.held == {}


async def test_a_claim_that_is_granted_as_it_is_cancelled_is_not_lost():
    shares = _shares()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(shares.hold("a", 4))
        waiting = Holder(shares, "a", 4)
        await _settled()
        await stack.aclose()
        assert shares.held == {"a": 4}
        waiting.task.cancel()
        await asyncio.gather(waiting.task, return_exceptions=True)
    assert not waiting.has.is_set()
    assert shares.held == {}
