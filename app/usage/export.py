"""Usage as CSV, for spreadsheets and bills: a row for each day, key, model and adapter."""

import csv
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import IO, Any

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.usage import repository
from app.usage.types import Amounts, Entry

HEAD = (
    "day",
    "organization_id",
    "organization",
    "api_key_id",
    "model",
    "adapter",
    "batch",
    *Amounts._fields,
)
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets take a cell that begins with one of these for a formula."""


async def export(
    sessions: async_sessionmaker[AsyncSession],
    file: IO[str],
    start: date,
    end: date,
    organizations: Mapping[str, str],
    *,
    org_id: str | None = None,
) -> int:
    """Write usage from `start` to `end`, both with it, and return how many rows there are.

    `organizations` are names by id; `org_id` None is all. Rows are written as they are read.
    **Raises:** SQLAlchemyError, OSError.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEAD)
    rows = 0
    for day in _days(start, end):
        # A transaction for each day: none is open for as long as a year takes.
        async with sessions() as session:
            async for entry, amounts in repository.of_day(session, day, org_id=org_id):
                name = organizations.get(entry.account.org_id, "")
                writer.writerow(_cells(entry, amounts, name))
                rows += 1
    return rows


def _days(start: date, end: date) -> Iterator[date]:
    for number in range((end - start).days + 1):
        yield start + timedelta(number)


def _cells(entry: Entry, amounts: Amounts, organization: str) -> list[Any]:
    account = entry.account
    texts = (account.org_id, organization, account.key_id, account.model, account.adapter)
    batch = "true" if account.is_batch else "false"
    return [entry.day.isoformat(), *map(_text, texts), batch, *amounts]


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(FORMULA) else value
