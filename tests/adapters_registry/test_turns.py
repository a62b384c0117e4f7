import asyncio
import gc
import weakref
from contextlib import AsyncExitStack

import pytest

from adapters_registry.turns import Turn, Turns, TurnStats

NOTHING = TurnStats(running=0, waiting=0, active_flows=0)


def turns_of(slots: int = 2, max_running: int = 4, max_running_each: int = 8) -> Turns:
    return Turns(slots=slots, max_running=max_running, max_running_each=max_running_each)


def join(turns: Turns, *flows: str) -> list[Turn]:
    joined = [turns.take(flow) for flow in flows]
    for turn in joined:
        turns.join(turn)
    return joined


def leave(turns: Turns, *leaving: Turn) -> None:
    for turn in leaving:
        turns.leave(turn)


def running(*turns: Turn) -> list[bool]:
    return [turn.is_running for turn in turns]


def test_without_contention_a_turn_comes_at_once():
    turns = turns_of()
    (turn,) = join(turns, "a")
    assert turn.is_running
    assert turn.granted is None
    assert turns.snapshot() == TurnStats(running=1, waiting=0, active_flows=1)


def test_a_flow_beyond_the_slots_waits_until_another_has_ended():
    turns = turns_of(slots=2)
    a, b, c = join(turns, "a", "b", "c")
    assert running(a, b, c) == [True, True, False]
    leave(turns, b)
    assert c.is_running


def test_a_request_beyond_the_seats_of_the_engine_waits():
    turns = turns_of(max_running=2)
    first, second, third = join(turns, "a", "a", "a")
    assert running(first, second, third) == [True, True, False]
    leave(turns, second)
    assert third.is_running


def test_a_flow_has_no_more_running_requests_than_its_cap():
    turns = turns_of(max_running_each=2)
    first, second, third, other = join(turns, "a", "a", "a", "b")
    assert running(first, second, third, other) == [True, True, False, True]
    leave(turns, other)
    assert not third.is_running
    leave(turns, first)
    assert third.is_running


def test_inside_a_flow_the_first_to_come_is_the_first_to_run():
    turns = turns_of(max_running=1)
    first, second, third = join(turns, "a", "a", "a")
    leave(turns, first)
    assert running(second, third) == [True, False]


def test_seats_go_round_the_flows_that_wait_however_many_requests_each_has():
    turns = turns_of(slots=3, max_running=1)
    queue = join(turns, "a", "a", "a", "a", "b", "b", "c")
    order = ""
    while ahead := next((turn for turn in queue if turn.is_running), None):
        order += str(ahead.flow)
        queue.remove(ahead)
        leave(turns, ahead)
    assert order == "abcabaa"


def test_a_busy_flow_gets_nothing_while_another_waits_for_its_slot():
    turns = turns_of(slots=1, max_running=2)
    busy, more, cold, late = join(turns, "hot", "hot", "cold", "hot")
    leave(turns, busy)
    assert running(cold, late) == [False, False]
    leave(turns, more)
    assert running(cold, late) == [True, False]
    leave(turns, cold)
    assert late.is_running


def test_a_closed_flow_is_reopened_when_nobody_waits_for_a_slot_any_more():
    turns = turns_of(slots=1)
    _, cold, late = join(turns, "hot", "cold", "hot")
    assert not late.is_running
    leave(turns, cold)
    assert late.is_running
    assert turns.snapshot() == TurnStats(running=2, waiting=0, active_flows=1)


def test_a_flow_that_can_use_little_gives_up_its_slot_before_a_busy_one():
    turns = turns_of(slots=2, max_running=8)
    *_, small, third = join(turns, "hot", "hot", "hot", "small", "third")
    refused, admitted = join(turns, "small", "hot")
    assert running(refused, admitted) == [False, True]
    leave(turns, small)
    assert running(third, refused) == [True, False]


def test_of_flows_that_can_use_their_share_the_longest_active_gives_up_its_slot():
    turns = turns_of(slots=2, max_running=4)
    old, last_old, new, *_ = join(turns, "old", "old", "new", "new", "old", "old", "old")
    third, more_new = join(turns, "third", "new")
    leave(turns, old, new)
    assert running(third, more_new) == [False, True]
    leave(turns, last_old)
    assert third.is_running


def test_a_wait_that_was_given_up_has_no_bearing_on_who_gives_up_a_slot_later():
    turns = turns_of(slots=2, max_running=16, max_running_each=16)
    *_, small, impatient = join(turns, "hot", "hot", "hot", "small", "third")
    leave(turns, impatient)
    grown = join(turns, *["small"] * 5)
    join(turns, "third")
    more_hot, more_small = join(turns, "hot", "small")
    assert running(small, *grown) == [True] * 6
    assert running(more_hot, more_small) == [False, True]


def test_a_closed_flow_runs_what_waits_already_and_nothing_that_comes_later():
    turns = turns_of(slots=2, max_running=8)
    hot = join(turns, *["hot"] * 8)
    small = join(turns, "small", "small", "small")
    leave(turns, hot[0])
    third, late = join(turns, "third", "small")
    leave(turns, *hot[1:7])
    assert running(*small, third, late) == [True, True, True, False, False]
    leave(turns, *small)
    assert third.is_running


def test_a_closed_flow_runs_no_more_of_what_waits_than_its_share_of_the_seats():
    turns = turns_of(slots=2, max_running=4, max_running_each=3)
    old = join(turns, *["old"] * 9)
    new = join(turns, *["new"] * 9)
    (third,) = join(turns, "third")
    leave(turns, *old[:3])
    assert third.is_running
    assert running(*old[3:], *new).count(True) == 3


def test_one_flow_gives_way_at_a_time_where_the_others_cannot_fill_the_engine():
    turns = turns_of(slots=2, max_running=4)
    a, _, _, _ = join(turns, "a", "a", "b", "b")
    join(turns, "c", "d")
    more_a, more_b = join(turns, "a", "b")
    leave(turns, a)
    assert running(more_a, more_b) == [False, True]


def test_several_flows_give_way_at_once_while_the_others_fill_the_engine():
    turns = turns_of(slots=3, max_running=4)
    _, _, *hot = join(turns, "a", "b", *["hot"] * 5)
    join(turns, "c", "d")
    more_a, more_b = join(turns, "a", "b")
    leave(turns, hot[0])
    assert running(more_a, more_b, *hot[1:]) == [False, False, True, True, False, False]
    leave(turns, *hot[1:3])  # three of the busy flow are left for four seats
    assert running(more_a, more_b) == [False, True]


def test_a_flow_without_requests_is_forgotten():
    class Flow:
        """Something that a weak reference can tell the end of."""

    turns = turns_of(slots=1)
    flow, other = Flow(), Flow()
    seen = weakref.ref(flow), weakref.ref(other)
    ran, waited = turns.take(flow), turns.take(other)
    turns.join(ran)
    turns.join(waited)
    leave(turns, waited, ran)
    del flow, other, ran, waited
    gc.collect()
    assert [ref() for ref in seen] == [None, None]


@pytest.mark.parametrize("wrong", ["slots", "max_running", "max_running_each"])
def test_limits_below_one_are_refused(wrong: str):
    limits = {"slots": 1, "max_running": 1, "max_running_each": 1} | {wrong: 0}
    with pytest.raises(ValueError, match="at least 1"):
        Turns(**limits)


async def test_the_block_is_entered_when_the_turn_comes():
    turns = turns_of(max_running=1)
    order = []

    async def request(name: str) -> None:
        async with turns.take("flow"):
            order.append(name)

    async with turns.take("flow"):
        tasks = [asyncio.create_task(request(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        assert turns.snapshot().waiting == 2
        assert order == []
    await asyncio.gather(*tasks)
    assert order == ["first", "second"]
    assert turns.snapshot() == NOTHING


async def test_a_block_that_fails_ends_its_turn():
    turns = turns_of()
    with pytest.raises(LookupError):
        async with turns.take("flow"):
            raise LookupError
    assert turns.snapshot() == NOTHING


async def test_who_is_cancelled_while_waiting_leaves_no_trace():
    turns = turns_of(slots=1)
    async with turns.take("hot"):
        waiting = asyncio.create_task(turns.take("cold").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert turns.snapshot() == TurnStats(running=1, waiting=0, active_flows=1)
        async with turns.take("hot"):
            assert turns.snapshot().running == 2
    assert turns.snapshot() == NOTHING


async def test_a_turn_that_comes_as_its_request_is_cancelled_goes_to_the_next():
    turns = turns_of(max_running=1)
    (holder,) = join(turns, "a")
    lost = asyncio.create_task(turns.take("b").__aenter__())
    await asyncio.sleep(0)
    (following,) = join(turns, "c")
    leave(turns, holder)
    assert turns.snapshot() == TurnStats(running=1, waiting=1, active_flows=1)
    lost.cancel()
    await asyncio.wait([lost])
    assert lost.cancelled()
    assert following.is_running


async def test_a_timeout_round_the_entry_ends_the_wait_only():
    turns = turns_of(max_running=1)
    async with turns.take("a"):
        with pytest.raises(TimeoutError):
            async with AsyncExitStack() as stack, asyncio.timeout(0):
                await stack.enter_async_context(turns.take("b"))
        assert turns.snapshot() == TurnStats(running=1, waiting=0, active_flows=1)


async def test_everybody_who_waits_may_be_cancelled_at_once():
    turns = turns_of(slots=1, max_running=1)
    async with turns.take("hot"):
        waiting = [
            asyncio.create_task(turns.take(flow).__aenter__())
            for flow in ("hot", "cold", "cold", "third")
        ]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
    assert turns.snapshot() == NOTHING
