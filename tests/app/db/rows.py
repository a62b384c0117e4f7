"""Rows of any table, made of nothing but its columns, so that no migration outdates them.

Knows SQLAlchemy and none of this project's code: a process that runs other code uses it too.
"""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

Row = Mapping[str, Any]
VALUES: Mapping[type, Callable[[int], object]] = {
    str: lambda number: f"r{number}",
    int: lambda number: number,
    bool: lambda number: number % 2 == 1,
    float: lambda number: number / 2,
    date: lambda number: date(2020, 1, 1) + timedelta(days=number),
}
"""A value of each type of column; a type that is new to the schema is to be added here."""
LATER = 1000


def row(table: Table, number: int, *, is_sparse: bool = False) -> Row:
    """Return the row of this number; it refers to the rows of the same number in other tables.

    A sparse one leaves out what the database does not ask for.
    """
    columns = [column for column in table.columns if not (is_sparse and _may_lack(column))]
    return {column.name: _value(column, number) for column in columns}


def changed(table: Table, number: int) -> Row:
    """Return the row of this number with another value in each column that is no key."""
    return {c.name: _value(c, number if _is_key(c) else number + LATER) for c in table.columns}


async def add(connection: AsyncConnection, table: Table, row: Row) -> None:
    """Insert the row."""
    await connection.execute(table.insert().values(**row))


async def read(connection: AsyncConnection, table: Table, number: int) -> Row | None:
    """Return all columns of the row of this number, None where it is gone."""
    found = (await connection.execute(select(table).where(_is(table, number)))).one_or_none()
    return None if found is None else dict(found._mapping)


async def change(connection: AsyncConnection, table: Table, number: int) -> None:
    """Make the row of this number what `changed` says."""
    values = {name: v for name, v in changed(table, number).items() if not _is_key(table.c[name])}
    if values:
        await connection.execute(table.update().where(_is(table, number)).values(**values))


async def remove(connection: AsyncConnection, table: Table, number: int) -> None:
    """Delete the row of this number."""
    await connection.execute(table.delete().where(_is(table, number)))


def _value(column: Column[Any], number: int) -> object:
    for key in column.foreign_keys:
        return _value(key.column, number)
    return VALUES[column.type.python_type](number)


def _is_key(column: Column[Any]) -> bool:
    return column.primary_key or bool(column.foreign_keys)


def _may_lack(column: Column[Any]) -> bool:
    has_value = column.nullable or column.server_default is not None
    return has_value and not column.primary_key


def _is(table: Table, number: int) -> ColumnElement[bool]:
    return and_(*(column == _value(column, number) for column in table.primary_key))
