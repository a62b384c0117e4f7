import gc
import itertools
import weakref

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


def test_who_gives_way_is_held_to_no_cap_of_its_flow_but_to_all_seats():
    turns = turns_of(max_running=3, max_running_each=1)
    join(turns, "a")
    assert not turns.is_free("a")
    for _ in range(2):
        assert turns.is_free("a", gives_way=True)
        turns.join(turns.take("a", gives_way=True))
    assert turns.snapshot().running == 3
    assert not turns.is_free("a", gives_way=True)


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


def test_no_more_flows_give_way_than_wait_for_a_slot():
    turns = turns_of(slots=3, max_running=4)
    _, _, *hot = join(turns, "a", "b", *["hot"] * 8)
    join(turns, "c")
    more_a, more_b = join(turns, "a", "b")
    leave(turns, *hot[:2])
    assert running(more_a, more_b) == [False, True]


def begin_a_stream(turns: Turns, flow: str) -> Turn:
    """Start a request and have enough others come and go for it to be one that lasts."""
    (stream,) = join(turns, flow)
    for _ in range(50):
        leave(turns, *join(turns, "other"))
    return stream


def test_a_flow_with_a_request_that_lasts_is_not_the_one_to_give_up_its_slot():
    turns = turns_of(slots=2, max_running=8)
    begin_a_stream(turns, "long")
    *short, third = join(turns, "short", "short", "short", "third")
    refused, admitted = join(turns, "short", "long")
    assert running(refused, admitted) == [False, True]
    leave(turns, *short)
    assert third.is_running


def test_where_the_request_of_a_closed_flow_turns_out_to_last_another_is_closed_for_it():
    turns = turns_of(slots=2, max_running=8)
    join(turns, "long", "short", "short", "third")
    (closed,) = join(turns, "long")
    assert not closed.is_running
    for _ in range(50):
        leave(turns, *join(turns, "short"))
    assert running(closed, *join(turns, "short")) == [True, False]


def test_where_all_have_a_request_that_lasts_one_flow_is_closed():
    turns = turns_of(slots=2, max_running=8)
    first = begin_a_stream(turns, "first")
    begin_a_stream(turns, "second")
    third, refused, admitted = join(turns, "third", "first", "second")
    assert running(third, refused, admitted) == [False, False, True]
    leave(turns, first)
    assert third.is_running


def test_a_closed_flow_stays_so_for_a_request_that_lasts_where_others_have_waited_longer():
    turns = turns_of(slots=2, max_running=4)
    first, *busy, stream = join(turns, "long", "busy", "busy", "busy", "long")
    third, _ = join(turns, "third", "fourth")
    leave(turns, *busy[:2], first)
    assert stream.is_running
    last = busy[2]
    for _ in range(50):
        (more,) = join(turns, "busy")
        if more.is_running:
            leave(turns, last)
            last = more
    assert running(*join(turns, "long", "busy")) == [False, False]
    leave(turns, last)
    assert third.is_running


def test_beside_a_closed_flow_no_other_is_closed_where_all_have_a_request_that_lasts():
    turns = turns_of(slots=2, max_running=4)
    first, *busy, stream = join(turns, "long", "busy", "busy", "busy", "long")
    join(turns, "third", "fourth")
    leave(turns, busy[0], first)
    assert stream.is_running
    for _ in range(50):
        leave(turns, *join(turns, "busy"))
    assert running(*join(turns, "long", "busy")) == [False, True]


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


def test_a_turn_that_is_left_while_it_waits_leaves_no_trace():
    turns = turns_of(slots=1)
    hot, cold = join(turns, "hot", "cold")
    leave(turns, cold)
    assert turns.snapshot() == TurnStats(running=1, waiting=0, active_flows=1)
    (more,) = join(turns, "hot")
    assert more.is_running
    leave(turns, hot, more)
    assert turns.snapshot() == NOTHING


def test_a_turn_that_is_left_as_it_comes_goes_to_the_next():
    turns = turns_of(max_running=1)
    holder, lost, following = join(turns, "a", "b", "c")
    leave(turns, holder)
    assert running(lost, following) == [True, False]
    leave(turns, lost)
    assert following.is_running


async def test_who_waits_is_told_when_its_turn_has_come():
    turns = turns_of(max_running=1)
    first, second = join(turns, "a", "a")
    assert second.granted is not None
    assert not second.granted.is_set()
    leave(turns, first)
    await second.granted.wait()
    assert second.is_running


def test_everybody_may_leave_in_any_order():
    flows = ("hot", "hot", "cold", "cold", "third")
    for order in itertools.permutations(range(5)):
        turns = turns_of(slots=1, max_running=1)
        joined = join(turns, *flows)
        leave(turns, *(joined[place] for place in order))
        assert turns.snapshot() == NOTHING
