"""The SQL of metering; every function works in its caller's transaction."""

from collections.abc import AsyncIterator, Sequence
from datetime import date
from typing import Any, Literal, NamedTuple, cast, get_args

from sqlalchemy import (
    ColumnElement,
    Insert,
    Table,
    and_,
    delete,
    false,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from app.db.clock import NOW
from app.db.tables import UsageFlushRow
from app.db.tables import UsageRow as Row
from app.usage.types import Account, Amounts, Entry, Sums

Dimension = Literal["day", "model", "adapter", "api_key_id", "batch"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
Value = date | str | bool

STEP = 500
"""Rows of one call of the driver; the event loop goes on between them."""

KEY = ("org_id", "day", "model", "adapter", "key_id", "is_batch")
COLUMNS: dict[Dimension, InstrumentedAttribute[Any]] = {
    "day": Row.day,
    "model": Row.model,
    "adapter": Row.adapter,
    "api_key_id": Row.key_id,
    "batch": Row.is_batch,
}


class Selection(NamedTuple):
    """One organisation's usage from `start` to `end`, both with it, by these dimensions."""

    org_id: str
    start: date
    end: date
    group_by: tuple[Dimension, ...]


class Group(NamedTuple):
    """What all usage of the same `values`, one for each dimension, comes to."""

    values: tuple[Value, ...]
    amounts: Amounts


async def begin_flush(session: AsyncSession, process: str, number: int) -> bool:
    """Take note of a process's flush; False if it was written before.

    Waits for a transaction that writes it now.
    """
    insert = _insert(session, UsageFlushRow)
    statement = insert.values(process=process, number=number, flushed_at=NOW).on_conflict_do_update(
        index_elements=["process"],
        set_={"number": insert.excluded.number, "flushed_at": NOW},
        where=UsageFlushRow.number < insert.excluded.number,
    )
    written = await session.scalar(statement.returning(UsageFlushRow.number))
    return written is not None


async def add(session: AsyncSession, sums: Sums) -> None:
    """Add to what there is."""
    # In one order everywhere: processes that add at once must not wait for one another in a circle.
    rows = sorted((_values(entry, amounts) for entry, amounts in sums.items()), key=_place)
    statement = _growing(session)
    for first in range(0, len(rows), STEP):
        await session.execute(statement, rows[first : first + STEP])


async def grouped(
    session: AsyncSession,
    selection: Selection,
    *,
    after: tuple[Value, ...] | None,
    limit: int,
) -> Sequence[Group]:
    """Return groups in the order of their values, at most `limit` of those `after` a group."""
    columns = [COLUMNS[dimension] for dimension in selection.group_by]
    sums = [func.sum(getattr(Row, name)) for name in Amounts._fields]
    query = select(*columns, *sums).where(
        Row.org_id == selection.org_id, Row.day.between(selection.start, selection.end)
    )
    if columns:
        query = query.group_by(*columns).order_by(*columns)
    if after is not None:
        query = query.where(_beyond(columns, after))
    split = len(columns)
    # Of no rows, the sum without groups is one row of nulls.
    rows = [row for row in await session.execute(query.limit(limit)) if row[split] is not None]
    return [Group(tuple(row[:split]), Amounts(*map(int, row[split:]))) for row in rows]


async def of_day(
    session: AsyncSession, day: date, *, org_id: str | None = None
) -> AsyncIterator[tuple[Entry, Amounts]]:
    """Yield every sum of one day, of all organisations or one, in the order of the key."""
    names = (*Account._fields, *Amounts._fields)
    query = select(*(getattr(Row, name) for name in names)).where(Row.day == day)
    if org_id is not None:
        query = query.where(Row.org_id == org_id)
    split = len(Account._fields)
    async for row in await session.stream(query.order_by(*(getattr(Row, name) for name in KEY))):
        yield Entry(day, Account(*row[:split])), Amounts(*row[split:])


async def forget(session: AsyncSession, *, before: date, at_most: int) -> int:
    """Remove sums of days before this one; tell how many."""
    columns = [getattr(Row, name) for name in KEY]
    old = (
        select(*columns)
        .where(Row.day < before)
        .order_by(Row.day)
        .limit(at_most)
        .with_for_update(skip_locked=True)
    )
    removed = await session.scalars(
        delete(Row).where(tuple_(*columns).in_(old)).returning(Row.org_id)
    )
    return len(removed.all())


async def forget_flushes(session: AsyncSession, *, keep_seconds: int) -> None:
    """Remove the marks of processes that have flushed nothing for so long."""
    await session.execute(
        delete(UsageFlushRow).where(UsageFlushRow.flushed_at < NOW - keep_seconds)
    )


async def day_before(session: AsyncSession, days: int) -> date:
    """Return the day so many days ago, by the database's clock."""
    seconds = await session.scalar(select(NOW))
    assert seconds is not None
    return date.fromordinal(date(1970, 1, 1).toordinal() + seconds // 86_400 - days)


def _growing(session: AsyncSession) -> Insert:
    insert = _insert(session, Row)
    columns = cast(Table, Row.__table__).c
    grown = {name: columns[name] + insert.excluded[name] for name in Amounts._fields}
    return insert.on_conflict_do_update(index_elements=KEY, set_=grown)


def _insert(
    session: AsyncSession, row: type[Row] | type[UsageFlushRow]
) -> sqlite.Insert | postgresql.Insert:
    table = cast(Table, row.__table__)
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


def _values(entry: Entry, amounts: Amounts) -> dict[str, Any]:
    return {"day": entry.day, **entry.account._asdict(), **amounts._asdict()}


def _place(values: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(values[name] for name in KEY)


def _beyond(
    columns: Sequence[InstrumentedAttribute[Any]], after: Sequence[Value]
) -> ColumnElement[bool]:
    """Compare column by column: what row values do, on every database and type."""
    pairs = list(zip(columns, after, strict=True))
    beyond: ColumnElement[bool] = false()
    for column, value in reversed(pairs):
        bound = literal(value, column.type)
        beyond = or_(column > bound, and_(column == bound, beyond))
    return beyond
