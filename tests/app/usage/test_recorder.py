"""The process's ledger: everything reaches the database once, whatever fails in between."""

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from app.db.engine import Database
from app.db.tables import UsageFlushRow
from app.usage.recorder import UNKNOWN, UsageRecorder
from app.usage.tally import Tally
from app.usage.types import Account, Amounts, Entry
from tests.app.usage.entries import DAY, FT, NOON, account, stored, tokens

Failure = Literal["before", "lost answer", "cancelled"]


class Observer:
    def __init__(self) -> None:
        self.without_detail = 0

    def usage_without_detail(self, requests: int) -> None:
        self.without_detail += requests


class UnsureSessions:
    """A database whose transactions may fail, before their commit or just after it."""

    def __init__(self, database: Database) -> None:
        self._sessions = database.sessions
        self.failure: Failure | None = None

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        async with self._sessions.begin() as session:
            yield session
            if self.failure == "before":
                raise _lost()
        if self.failure == "lost answer":
            raise _lost()
        if self.failure == "cancelled":
            raise asyncio.CancelledError


def _lost() -> Exception:
    return OperationalError("COMMIT", {}, ConnectionResetError())


def recorder_of(database: Database, **options: Any) -> UsageRecorder:
    return UsageRecorder(database.sessions, Observer(), clock=lambda: NOON, **options)


@pytest.fixture
def sessions(database: Database) -> UnsureSessions:
    return UnsureSessions(database)


@pytest.fixture
def unsure(sessions: UnsureSessions) -> UsageRecorder:
    return UsageRecorder(cast(Any, sessions), Observer(), clock=lambda: NOON)


async def test_what_is_recorded_is_added_to_what_the_database_has(database: Database) -> None:
    recorder = recorder_of(database)
    for prompt in (1, 10):
        recorder.record(account(), tokens(prompt, 5))
        recorder.record(account(adapter=FT), Amounts(1, 2, 3, 4, 5, 6, 7))
        await recorder.flush()
    assert await stored(database) == {
        Entry(DAY, account()): tokens(11, 10, requests=2),
        Entry(DAY, account(adapter=FT)): Amounts(2, 4, 6, 8, 10, 12, 14),
    }


async def test_nothing_is_written_where_nothing_was_used(database: Database) -> None:
    await recorder_of(database).flush()
    async with database.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(UsageFlushRow)) == 0


@pytest.mark.parametrize("failure", ["before", "lost answer", "cancelled"])
async def test_a_flush_that_fails_is_made_again_and_counts_once(
    database: Database, sessions: UnsureSessions, unsure: UsageRecorder, failure: Failure
) -> None:
    unsure.record(account(), tokens(1))
    sessions.failure = failure
    for _ in range(3):
        with pytest.raises((OperationalError, asyncio.CancelledError)):
            await unsure.flush()
        unsure.record(account(), tokens(10))
    sessions.failure = None
    await unsure.flush()
    assert await stored(database) == {Entry(DAY, account()): tokens(31, requests=4)}


@pytest.fixture
async def sqlite(migrated_sqlite: Path, tmp_path: Path) -> AsyncIterator[Database]:
    path = shutil.copy(migrated_sqlite, tmp_path / "property.sqlite3")
    database = Database(f"sqlite+aiosqlite:///{path}")
    yield database
    await database.close()


EVENT = st.tuples(
    st.builds(account, st.sampled_from(["org_1", "org_2"]), adapter=st.sampled_from(["", FT])),
    st.builds(tokens, st.integers(0, 100), st.integers(0, 100)),
)
FLUSH = st.tuples(st.integers(0, 1), st.sampled_from([None, "before", "lost answer", "cancelled"]))
RUNS = itertools.count()


def fresh(events: list[Any], number: int) -> Iterator[Any]:
    """Give a run organisations of its own, in a database that all runs share."""
    for event in events:
        if isinstance(event[0], Account):
            yield event[0]._replace(org_id=f"{event[0].org_id}-{number}"), event[1]
        else:
            yield event


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(EVENT | FLUSH, max_size=25))
async def test_any_order_of_events_and_failures_of_two_processes_adds_up(
    sqlite: Database, events: list[Any]
) -> None:
    number = next(RUNS)
    sessions = [UnsureSessions(sqlite) for _ in range(2)]
    processes = [
        UsageRecorder(cast(Any, each), Observer(), clock=lambda: NOON) for each in sessions
    ]
    expected = Tally(lambda: NOON)
    for place, event in enumerate(fresh(events, number)):
        if isinstance(event[0], Account):
            processes[place % 2].record(*event)
            expected.record(*event)
            continue
        process, sessions[event[0]].failure = processes[event[0]], event[1]
        with suppress(OperationalError, asyncio.CancelledError):
            await process.flush()
    for process, each in zip(processes, sessions, strict=True):
        each.failure = None
        await process.flush()
    mine = {
        entry: amounts
        for entry, amounts in (await stored(sqlite)).items()
        if entry.account.org_id.endswith(f"-{number}")
    }
    assert mine == expected.sums


async def test_processes_that_flush_at_once_add_up(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(4)]
    keys = [account(key_id=f"key_{number}") for number in range(30)]

    async def work(database: Database, step: int) -> None:
        recorder = recorder_of(database)
        for _ in range(10):
            for each in keys[::step]:
                recorder.record(each, tokens(1))
            await recorder.flush()

    try:
        # Each in its own order.
        steps = (1, -1, 1, -1)
        async with asyncio.timeout(60):
            await asyncio.gather(*map(work, databases, steps))
        assert await stored(databases[0]) == {
            Entry(DAY, each): tokens(40, requests=40) for each in keys
        }
    finally:
        for database in databases:
            await database.close()


async def test_what_is_recorded_during_a_flush_is_in_the_next(database: Database) -> None:
    recorder = recorder_of(database)
    recorder.record(account(), tokens(1))
    flush = asyncio.create_task(recorder.flush())
    await asyncio.sleep(0)
    recorder.record(account(), tokens(2))
    await flush
    await recorder.flush()
    assert await stored(database) == {Entry(DAY, account()): tokens(3, requests=2)}


async def test_too_many_sums_are_merged_and_no_total_is_lost(database: Database) -> None:
    observer = Observer()
    recorder = UsageRecorder(database.sessions, observer, most_sums=2, clock=lambda: NOON)
    with capture_logs() as logs:
        for number in range(5):
            recorder.record(account(key_id=f"key_{number}", adapter=FT), tokens(1))
        recorder.record(account(key_id="key_1", adapter=FT), tokens(10))
    await recorder.flush()

    merged = account(key_id=UNKNOWN, adapter=UNKNOWN)
    assert await stored(database) == {
        Entry(DAY, account(key_id="key_0", adapter=FT)): tokens(1),
        Entry(DAY, account(key_id="key_1", adapter=FT)): tokens(11, requests=2),
        Entry(DAY, merged): tokens(3, requests=3),
    }
    assert observer.without_detail == 3
    assert [log["log_level"] for log in logs] == ["error"]


async def test_closing_brings_what_is_left(database: Database) -> None:
    recorder = recorder_of(database)
    recorder.record(account(), tokens(1))
    await recorder.close()
    assert await stored(database) == {Entry(DAY, account()): tokens(1)}


async def test_closing_without_a_database_tells_what_is_lost(
    sessions: UnsureSessions, unsure: UsageRecorder
) -> None:
    sessions.failure = "before"
    for _ in range(2):
        unsure.record(account(), tokens(1))
        with suppress(OperationalError):
            await unsure.flush()
    unsure.record(account("org_2"), tokens(1))
    with capture_logs() as logs:
        await unsure.close()
    assert [(log["log_level"], log["requests"]) for log in logs] == [("error", 3)]
