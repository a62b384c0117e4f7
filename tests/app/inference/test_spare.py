"""The batch lane: who comes in, in which order, and who gives way to others."""

import asyncio
from collections import Counter
from contextlib import ExitStack
from math import inf

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from adapters_registry.testing import until
from app.inference import spacing, spare
from tests.app.inference.lines import (
    CARD,
    MODEL,
    SPARE,
    Asked,
    Host,
    Lines,
    make_admission,
    settle,
)


@pytest.fixture(autouse=True)
def never_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep lines to what is spare, as in the second after a request of others."""
    monkeypatch.setattr(spare, "QUIET_SECONDS", 3600.0)


@pytest.fixture(autouse=True)
def at_any_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let lines come in together."""
    monkeypatch.setattr(spacing, "MOST_PACE", inf)


@pytest.fixture
def lines() -> Lines:
    return Lines(make_admission())


@pytest.fixture
def with_slots() -> Lines:
    """Three adapters at once, six requests of each: four lines of an adapter, two adapters."""
    return Lines(make_admission(Host()))


async def test_lines_take_all_but_the_reserve_and_the_rest_waits(lines):
    await lines.ask_all(12)
    assert lines.counts() == (SPARE, SPARE, 4)
    await lines.drain()
    assert lines.counts() == (0, 0, 0)


async def test_lines_come_in_in_the_order_in_which_they_asked(lines):
    asked = await lines.ask_all(20)
    for each in asked[:12]:
        await lines.end(each)
    assert lines.begun == [each.name for each in asked]
    await lines.drain()


async def test_what_others_leave_free_below_the_reserve_is_filled_when_they_go(lines):
    for _ in range(5):
        await lines.enter()
    await lines.ask_all(8)
    assert len(lines.inside()) == 3
    await lines.leave()
    assert len(lines.inside()) == 4
    await lines.drain()


async def test_lines_leave_the_reserve_of_the_cache_free_too(lines):
    await lines.ask_all(3, tokens=300)
    assert lines.counts() == (2, 600, 1)
    await lines.drain()


async def test_a_line_that_waits_for_room_is_not_overtaken_by_a_shorter_one(lines):
    first, long, short = lines.ask(tokens=600), lines.ask(tokens=300), lines.ask()
    await settle()
    assert lines.inside() == [first]
    await lines.end(first)
    assert lines.inside() == [long, short]
    await lines.drain()


async def test_a_prompt_too_long_for_anybodys_company_runs_alone(lines):
    short, huge, later = lines.ask(), lines.ask(tokens=5000), lines.ask()
    await settle()
    assert lines.inside() == [short]
    await lines.end(short)
    assert lines.inside() == [huge]
    await lines.end(huge)
    assert lines.inside() == [later]
    await lines.drain()


async def test_a_prompt_that_does_not_fit_beside_others_lets_shorter_ones_pass(lines):
    await lines.enter(tokens=500)
    long, short = lines.ask(tokens=400), lines.ask()
    await settle()
    assert lines.inside() == [short]
    await lines.leave()
    assert lines.inside() == [long, short]
    await lines.drain()


async def test_a_waiting_line_that_is_cancelled_leaves_no_place_and_keeps_nobody_up(lines):
    first, waiting, next_one = lines.ask(tokens=700), lines.ask(tokens=700), lines.ask()
    await settle()
    await lines.cancel(waiting)
    assert lines.inside() == [first, next_one]
    await lines.drain()
    assert lines.counts() == (0, 0, 0)


async def test_a_line_cancelled_in_the_moment_it_is_let_in_gives_its_place_back(lines):
    await lines.ask_all(SPARE)
    waiting = lines.ask()
    await settle()
    lines.asked[0].may_end.set()
    await asyncio.sleep(0)  # its place goes to the one that waits, which has not woken yet
    waiting.task.cancel()
    await settle()
    assert lines.counts() == (SPARE - 1, SPARE - 1, 0)
    await lines.drain()


async def test_others_that_find_room_displace_nobody(lines):
    await lines.ask_all(SPARE)
    await lines.enter()
    await lines.enter()
    assert lines.displaced() == []
    await lines.drain()


@pytest.mark.parametrize("tier", ["performance", "on_demand"])
async def test_who_would_have_to_wait_displaces_the_youngest_and_no_more(lines, tier):
    await lines.ask_all(SPARE)
    for _ in range(5):
        await lines.enter(tier)
    assert lines.numbers(lines.displaced()) == [5, 6, 7]
    assert lines.admission.stats()[MODEL].displaced == 3
    await lines.drain()


async def test_two_who_come_in_one_moment_displace_one_line_each(lines):
    await lines.ask_all(SPARE)
    await lines.enter()
    await lines.enter()
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(lines.admission.enter(MODEL, "on_demand", 1))
        await settle()
        assert lines.numbers(lines.displaced()) == [6, 7]
    await lines.drain()


async def test_a_long_prompt_displaces_as_many_lines_as_it_needs_tokens(lines):
    await lines.ask_all(4, tokens=200)
    await lines.enter(tokens=500)
    assert lines.numbers(lines.displaced()) == [2, 3]
    await lines.drain()


async def test_lines_keep_no_other_request_out(lines):
    await lines.ask_all(SPARE)
    for _ in range(SPARE):
        await lines.enter("flex")
    assert len(lines.displaced()) == SPARE - 2
    await lines.drain()


async def test_flex_is_not_refused_for_lines(lines):
    await lines.ask_all(SPARE)
    lines.admission.check(MODEL, "flex")
    await lines.drain()


async def test_a_displaced_line_that_is_asked_again_is_as_old_as_before(lines):
    await lines.ask_all(SPARE + 4)
    for _ in range(3):
        await lines.enter()
    assert lines.numbers(lines.displaced()) == [7]
    again = lines.ask("7")
    await settle()
    for _ in range(3):
        await lines.leave()
    assert again.is_inside
    assert not lines.asked[8].is_inside
    await lines.drain()


async def test_the_oldest_line_is_never_displaced_while_younger_ones_run(lines):
    (oldest, *_) = await lines.ask_all(3)
    for burst in range(30):
        for _ in range(9):
            await lines.enter()
        lines.ask(f"again {burst}")
        while lines.others:
            await lines.leave()
    assert oldest.is_inside
    await lines.drain()


async def test_only_so_many_lines_run_beside_others_as_their_share_allows():
    lines = Lines(make_admission(batch_share=0.3))
    await lines.enter()
    await lines.ask_all(10)
    assert len(lines.inside()) == 3
    await lines.drain()


async def test_beside_others_lines_that_ended_together_are_followed_at_a_distance(monkeypatch):
    monkeypatch.setattr(spacing, "MOST_PACE", 2.0)
    now = 0.0
    lines = Lines(make_admission(clock=lambda: now))
    first = await lines.ask_all(SPARE)
    await lines.ask_all(3)
    now = 0.32
    await lines.end(*first)
    assert len(lines.inside()) == 1, "the first of the next ones comes at once"
    now = 0.339
    await asyncio.sleep(0.05)
    assert len(lines.inside()) == 1
    now = 0.36
    await until(lambda: len(lines.inside()) == 2)
    assert len(lines.inside()) == 2
    now = 0.4
    await until(lambda: len(lines.inside()) == 3)
    await lines.drain()


def test_distances_too_short_for_a_timer_of_uvloop_are_kept_too(monkeypatch):
    monkeypatch.setattr(spacing, "MOST_PACE", 2.0)

    async def scenario():
        now = 0.0
        lines = Lines(make_admission(clock=lambda: now))
        await lines.ask_all(2 * SPARE)
        now = 0.0032
        await lines.end(*lines.inside())
        while len(lines.inside()) < SPARE:
            now += 0.0002
            await lines.enter()
            await lines.leave()
        await lines.drain()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_lines_that_are_alone_come_in_together(monkeypatch):
    monkeypatch.setattr(spacing, "MOST_PACE", 2.0)
    monkeypatch.setattr(spare, "QUIET_SECONDS", 0.0)
    now = 0.0
    lines = Lines(make_admission(clock=lambda: now))
    first = await lines.ask_all(SPARE)
    now = 1000.0
    await lines.end(*first)
    await lines.ask_all(SPARE)
    assert len(lines.inside()) == SPARE
    await lines.drain()


async def test_a_while_after_the_last_of_the_others_lines_have_the_whole_engine(monkeypatch):
    monkeypatch.setattr(spare, "QUIET_SECONDS", 0.05)
    lines = Lines(make_admission(batch_share=0.3))
    await lines.enter()
    await lines.ask_all(24)
    await lines.leave()
    assert len(lines.inside()) == 3
    await until(lambda: len(lines.inside()) == 2 * CARD.max_running)
    await lines.drain()


async def test_the_first_of_the_others_finds_a_place_in_an_engine_full_of_lines(monkeypatch):
    monkeypatch.setattr(spare, "QUIET_SECONDS", 0.0)
    lines = Lines(make_admission())
    asked = await lines.ask_all(16)
    assert lines.inside() == asked
    monkeypatch.setattr(spare, "QUIET_SECONDS", 3600.0)
    await lines.enter()
    assert lines.inside() == asked[:9]
    await lines.end(asked[0], asked[1])
    assert len(lines.inside()) == SPARE - 1
    await lines.drain()


async def test_lines_that_are_alone_have_every_slot_and_give_one_back(monkeypatch):
    monkeypatch.setattr(spare, "QUIET_SECONDS", 0.0)
    lines = Lines(make_admission(Host()))
    asked = [lines.ask(adapter=adapter) for adapter in "abc"]
    await settle()
    assert lines.inside() == asked
    monkeypatch.setattr(spare, "QUIET_SECONDS", 3600.0)
    await lines.enter(adapter="d")
    assert len(lines.inside()) == 2
    await lines.drain()


async def test_lines_that_are_alone_may_all_be_of_one_adapter_until_others_ask_for_it(
    monkeypatch,
):
    monkeypatch.setattr(spare, "QUIET_SECONDS", 0.0)
    lines, host = Lines(make_admission(Host())), Host()
    await lines.ask_all(12, adapter="a")
    assert len(lines.inside()) == host.max_running
    monkeypatch.setattr(spare, "QUIET_SECONDS", 3600.0)
    await lines.enter(adapter="a")
    assert len(lines.inside()) == host.max_running_each - 1
    await lines.drain()


async def test_of_an_adapter_without_a_turn_one_line_goes_ahead(with_slots):
    lines = with_slots
    lines.no_turn = {"a"}
    await lines.ask_all(4, adapter="a")
    assert lines.tried == ["0"]
    lines.no_turn = set()
    other = lines.ask()
    await settle()
    await lines.end(other)
    assert len(lines.inside()) == 4
    await lines.drain()


async def test_a_line_without_a_turn_tries_again_by_itself(with_slots):
    lines = with_slots
    lines.no_turn = {"a"}
    (line,) = await lines.ask_all(1, adapter="a")
    assert lines.counts() == (0, 0, 1)
    lines.no_turn = set()
    await until(lambda: line.is_inside)
    assert lines.tried == ["0", "0"]
    await lines.drain()


async def test_lines_of_one_adapter_leave_its_others_some_of_its_turns(with_slots):
    await with_slots.ask_all(8, adapter="a")
    assert len(with_slots.inside()) == 4
    await with_slots.enter(adapter="a")
    await with_slots.enter(adapter="a")
    assert with_slots.displaced() == []
    await with_slots.enter(adapter="a")
    assert with_slots.numbers(with_slots.displaced()) == [3]
    await with_slots.drain()


async def test_lines_leave_one_slot_free(with_slots):
    asked = [with_slots.ask(adapter=name) for name in "abc"]
    base = with_slots.ask()
    await settle()
    assert with_slots.inside() == [*asked[:2], base]
    await with_slots.enter(adapter="d")
    assert with_slots.displaced() == []
    await with_slots.drain()
    assert all(each.has_ended for each in asked)


async def test_who_has_no_slot_displaces_the_adapter_with_the_fewest_lines(with_slots):
    lines = with_slots
    many, few = await lines.ask_all(3, adapter="a"), await lines.ask_all(2, adapter="b")
    await lines.enter(adapter="c")
    assert lines.displaced() == []
    await lines.enter(adapter="d")
    assert (lines.displaced(), lines.inside()) == (few, many)
    again = lines.ask(few[0].name, adapter="b")
    await settle()
    assert not again.is_inside, "its slot is another's now"
    await lines.leave()
    assert again.is_inside
    await lines.drain()


async def test_an_adapter_that_others_use_too_is_not_displaced_for_its_slot(with_slots):
    lines = with_slots
    shared, own = await lines.ask_all(1, adapter="a"), await lines.ask_all(2, adapter="b")
    await lines.enter(adapter="a")
    await lines.enter(adapter="c")
    await lines.enter(adapter="d")
    assert (lines.displaced(), lines.inside()) == (own, shared)
    await lines.drain()


async def test_an_adapter_is_not_passed_by_another_for_ever(with_slots):
    lines = with_slots
    lines.ask(adapter="b")
    running = await lines.ask_all(2, adapter="a")
    waiting = lines.ask(adapter="c")
    await settle()
    asked = 0
    while not waiting.is_inside:
        running.append(lines.ask(adapter="a"))
        await settle()
        running = [each for each in running if not each.has_ended]
        await lines.end(next(each for each in running if each.is_inside))
        asked += 1
        assert asked < 2 * spare.OVERTAKING * SPARE
    await lines.drain()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["ask", "ask", "end", "cancel", "enter", "enter", "leave", "turns", "again"]
        ),
        st.integers(0, 30),
        st.sampled_from([1, 1, 1, 60, 400, 1500]),
        st.sampled_from([None, None, "a", "b", "c", "d"]),
    ),
    max_size=60,
)


@given(steps=STEPS, slots=st.integers(1, 4))
async def test_lines_take_only_what_is_spare_give_way_in_time_and_all_get_through(steps, slots):
    lines = Lines(make_admission(host := Host(slots), queue=3.0))
    for step in steps:
        before = {each: each.is_inside for each in lines.asked}
        displaced = set(lines.displaced())
        await _take(lines, *step)
        _check_counts(lines)
        newly = {each for each in lines.displaced() if each not in displaced}
        if any(each.is_inside and not before.get(each) for each in lines.asked):
            _check_room(lines, host)
        if newly and step[3] is None:
            _check_displaced(lines, newly)
        _check_nobody_waits_for_lines(lines, host)
    lines.no_turn = set()
    await lines.drain()
    while waiting := [each for each in lines.asked if not each.task.done()]:
        await until(lambda: any(each.is_inside for each in waiting))
        await lines.drain()
    assert lines.counts() == (0, 0, 0)


async def _take(lines: Lines, step: str, index: int, tokens: int, adapter: str | None) -> None:
    if step == "ask":
        await lines.ask_all(1, tokens=tokens, adapter=adapter)
    elif step == "enter" and lines.admission.stats()[MODEL].waiting < 20:
        await lines.enter(tokens=min(tokens, 60), adapter=adapter)
    elif step == "leave" and lines.others:
        await lines.leave(index % len(lines.others))
    elif step == "again" and (gone := [e for e in lines.displaced() if e.task.done()]):
        await _ask_again(lines, gone[index % len(gone)])
    elif step == "turns":
        lines.no_turn = set() if adapter is None else {adapter}
    elif lines.asked:
        asked = lines.asked[index % len(lines.asked)]
        await (lines.end(asked) if step == "end" else lines.cancel(asked))


async def _ask_again(lines: Lines, gone: Asked) -> None:
    lines.ask(gone.name, tokens=gone.tokens, adapter=gone.adapter)
    await settle()


def _check_counts(lines: Lines) -> None:
    inside = lines.inside()
    waiting = [each for each in lines.asked if not each.is_inside and not each.task.done()]
    tokens = sum(each.tokens for each in inside) + sum(tokens for _, tokens, _ in lines.others)
    assert lines.counts() == (len(inside), tokens, len(waiting))


def _check_room(lines: Lines, host: Host) -> None:
    """What came in took nothing that is kept for others."""
    inside = lines.inside()
    requests, tokens = len(inside) + len(lines.others), lines.counts()[1]
    assert requests == 1 or (requests <= SPARE and tokens <= 0.8 * CARD.cache_tokens)
    adapters = {each.adapter for each in inside} - {None}
    assert len(adapters) <= max(1, host.slots - 1)
    assert all(sum(each.adapter == name for each in inside) <= 4 for name in adapters)


def _check_displaced(lines: Lines, newly: set) -> None:
    """Others that want a place had the youngest go, and could not have kept the oldest of them."""
    kept = min(newly, key=lambda each: each.age)
    assert all(kept.age > each.age for each in lines.inside())
    requests, tokens, _ = lines.counts()
    requests += len(lines.others)
    assert requests + 1 > CARD.max_running or tokens + kept.tokens > CARD.cache_tokens


def _check_nobody_waits_for_lines(lines: Lines, host: Host) -> None:
    if inside := lines.inside():
        assert len(inside) + len(lines.others) <= CARD.max_running
        assert lines.counts()[1] <= CARD.cache_tokens or len(inside) == 1
    ours = Counter(each.adapter for each in inside if each.adapter is not None)
    theirs = Counter(adapter for *_, adapter in lines.others if adapter is not None)
    if ours.keys() - theirs.keys():
        assert len(ours.keys() | theirs.keys()) <= host.slots
    assert all(ours[each] + theirs[each] <= host.max_running_each for each in ours)
