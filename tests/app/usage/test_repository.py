"""Sums in both databases: grouped, in pages, and removed when they are old."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select, update

from app.db.clock import NOW
from app.db.engine import Database
from app.db.tables import UsageFlushRow
from app.usage import repository
from app.usage.repository import DIMENSIONS, STEP, Dimension, Selection
from app.usage.sweep import FLUSH_KEEP_SECONDS, forget_old_usage
from app.usage.types import Account, Amounts, Entry
from tests.app.usage.entries import DAY, FT, ORG, account, add, stored, tokens

NEXT = DAY + timedelta(1)
ALL = {
    Entry(DAY, account()): tokens(1),
    Entry(DAY, account(adapter=FT)): tokens(10),
    Entry(NEXT, account(adapter=FT)): tokens(100),
    Entry(NEXT, account(key_id="", adapter=FT, is_batch=True)): tokens(1000),
    Entry(NEXT, account("org_2")): tokens(7777),
}


async def groups(
    database: Database, *group_by: Dimension, start: date = DAY, end: date = NEXT
) -> list[tuple[object, ...]]:
    selection = Selection(ORG, start, end, group_by)
    async with database.sessions() as session:
        found = await repository.grouped(session, selection, after=None, limit=100)
    return [(*group.values, group.amounts.prompt_tokens) for group in found]


async def test_one_organisation_is_grouped_by_what_is_asked(database: Database) -> None:
    await add(database, ALL)
    assert await groups(database) == [(1111,)]
    assert await groups(database, "day") == [(DAY, 11), (NEXT, 1100)]
    assert await groups(database, "adapter") == [("", 1), (FT, 1110)]
    assert await groups(database, "batch") == [(False, 111), (True, 1000)]
    assert await groups(database, "api_key_id") == [("", 1000), ("key_1", 111)]
    assert await groups(database, "model", "day") == [("base", DAY, 11), ("base", NEXT, 1100)]


async def test_both_days_belong_to_the_time_asked_for(database: Database) -> None:
    await add(database, ALL)
    assert await groups(database, start=DAY, end=DAY) == [(11,)]
    assert await groups(database, start=NEXT, end=NEXT) == [(1100,)]


async def test_without_usage_there_is_no_group(database: Database) -> None:
    assert await groups(database) == await groups(database, "day") == []


async def test_following_the_groups_yields_every_one_once_in_order(database: Database) -> None:
    sums = {
        Entry(day, account(key_id=key, model=model, adapter=adapter, is_batch=key == "")): tokens(1)
        for day in (DAY, NEXT)
        for key in ("", "key_1")
        for model in ("a", "b")
        for adapter in ("", FT)
    }
    await add(database, sums)
    selection, seen, after = Selection(ORG, DAY, NEXT, DIMENSIONS), [], None
    while True:
        async with database.sessions() as session:
            found = await repository.grouped(session, selection, after=after, limit=3)
        if not found:
            break
        seen += [group.values for group in found]
        after = seen[-1]
    assert len(seen) == len(set(seen)) == len(sums)
    assert seen == sorted(seen)


async def test_large_sums_are_exact(database: Database) -> None:
    most = Amounts(*[1 << 60] * len(Amounts._fields))
    await add(database, {Entry(DAY, account()): most})
    await add(database, {Entry(DAY, account()): most})
    assert await groups(database) == [(1 << 61,)]


async def test_more_sums_than_fit_one_call_are_added(database: Database) -> None:
    sums = {Entry(DAY, account(key_id=f"key_{n}")): tokens(n) for n in range(2 * STEP + 1)}
    await add(database, sums)
    assert await stored(database) == sums


async def test_a_flush_begins_once(database: Database) -> None:
    async def begins(process: str, number: int) -> bool:
        async with database.sessions.begin() as session:
            return await repository.begin_flush(session, process, number)

    assert [await begins("a", 1), await begins("a", 1)] == [True, False]
    assert [await begins("b", 1), await begins("a", 2), await begins("a", 1)] == [True, True, False]


async def test_usage_is_removed_when_its_days_are_over(database: Database) -> None:
    today = datetime.now(UTC).date()
    kept = {Entry(today - timedelta(days), account()): tokens(1) for days in (0, 1, 9)}
    old = {Entry(today - timedelta(days), account()): tokens(1) for days in (12, 400)}
    await add(database, kept | old)
    await forget_old_usage(database.sessions, keep_days=10)
    assert await stored(database) == kept


@pytest.mark.parametrize(("age", "left"), [(0, 1), (2 * FLUSH_KEEP_SECONDS, 0)])
async def test_marks_of_processes_that_are_gone_are_removed(
    database: Database, age: int, left: int
) -> None:
    async with database.sessions.begin() as session:
        await repository.begin_flush(session, "a", 1)
        await session.execute(update(UsageFlushRow).values(flushed_at=NOW - age))
    await forget_old_usage(database.sessions, keep_days=10)
    async with database.sessions() as session:
        count = select(func.count()).select_from(UsageFlushRow)
        assert await session.scalar(count) == left


async def test_a_day_is_read_with_every_account(database: Database) -> None:
    await add(database, ALL)
    async with database.sessions() as session:
        found = [each async for each in repository.of_day(session, NEXT)]
        mine = [each async for each in repository.of_day(session, NEXT, org_id="org_2")]
    assert dict(found) == {entry: ALL[entry] for entry in ALL if entry.day == NEXT}
    assert mine == [(Entry(NEXT, Account("org_2", "key_1", "base", "", False)), tokens(7777))]
