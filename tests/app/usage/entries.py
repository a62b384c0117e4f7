"""Usage that tests record, and what the database has of it."""

from datetime import date

from sqlalchemy import select

from app.db.engine import Database
from app.db.tables import UsageRow
from app.usage import repository
from app.usage.types import Account, Amounts, Entry, Sums

ORG = "org_1"
DAY = date(2026, 1, 31)
NOON = 1_769_860_800.0
"""Of DAY, in Unix seconds."""
FT = "ft:base:org_1/pirate-0123456789ab"


def account(
    org_id: str = ORG,
    key_id: str = "key_1",
    model: str = "base",
    adapter: str = "",
    *,
    is_batch: bool = False,
) -> Account:
    return Account(org_id, key_id, model, adapter, is_batch)


def tokens(prompt: int, completion: int = 0, *, requests: int = 1) -> Amounts:
    return Amounts(requests=requests, prompt_tokens=prompt, completion_tokens=completion)


async def add(database: Database, sums: Sums) -> None:
    async with database.sessions.begin() as session:
        await repository.add(session, sums)


async def stored(database: Database) -> dict[Entry, Amounts]:
    """Return all that the database has."""
    names = (*Account._fields, *Amounts._fields)
    query = select(UsageRow.day, *(getattr(UsageRow, name) for name in names))
    async with database.sessions() as session:
        rows = (await session.execute(query)).all()
    split = 1 + len(Account._fields)
    return {Entry(row[0], Account(*row[1:split])): Amounts(*row[split:]) for row in rows}
