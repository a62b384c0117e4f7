"""Sums in memory: by account, and by the day on which a request ended."""

from datetime import date
from timeit import timeit

from hypothesis import given
from hypothesis import strategies as st

from app.usage.tally import Tally
from app.usage.types import Amounts, Entry
from tests.app.usage.entries import DAY, FT, NOON, account, tokens

AMOUNTS = st.builds(Amounts, *[st.integers(0, 1 << 40)] * len(Amounts._fields))


@given(st.lists(st.tuples(st.sampled_from(["key_1", "key_2"]), AMOUNTS)))
def test_sums_are_those_of_what_was_recorded(events: list[tuple[str, Amounts]]) -> None:
    tally = Tally(lambda: NOON)
    for key, amounts in events:
        tally.record(account(key_id=key), amounts)
    for key in {key for key, _ in events}:
        added = [amounts for each, amounts in events if each == key]
        assert tally.sums[Entry(DAY, account(key_id=key))] == tuple(
            map(sum, zip(*added, strict=True))
        )


def test_every_part_of_an_account_has_a_sum_of_its_own() -> None:
    accounts = [
        account(),
        account("org_2"),
        account(key_id="key_2"),
        account(model="other"),
        account(adapter=FT),
        account(is_batch=True),
    ]
    tally = Tally(lambda: NOON)
    for each in accounts:
        tally.record(each, tokens(1))
    assert tally.sums == {Entry(DAY, each): tokens(1) for each in accounts}


def test_days_end_at_midnight_utc() -> None:
    midnight = NOON + 43_200
    now = midnight - 0.001
    tally = Tally(lambda: now)
    tally.record(account(), tokens(1))
    now = midnight
    tally.record(account(), tokens(2))
    assert tally.sums == {
        Entry(DAY, account()): tokens(1),
        Entry(date(2026, 2, 1), account()): tokens(2),
    }


def test_what_is_taken_is_not_there_again() -> None:
    tally = Tally(lambda: NOON)
    tally.record(account(), tokens(1))
    assert tally.taken() == {Entry(DAY, account()): tokens(1)}
    assert tally.taken() == {}


def test_recording_costs_microseconds() -> None:
    tally, asked, amounts = Tally(), account(adapter=FT), tokens(100, 20)
    seconds = min(timeit(lambda: tally.record(asked, amounts), number=2000) for _ in range(5))
    assert seconds / 2000 < 50e-6
