"""Usage as CSV."""

import csv
import io
from datetime import timedelta

import pytest

from app.db.engine import Database
from app.usage.export import HEAD, export
from app.usage.types import Amounts, Entry
from tests.app.usage.entries import DAY, FT, account, add, tokens

NEXT = DAY + timedelta(1)


async def exported(database: Database, **options: str) -> list[dict[str, str]]:
    file = io.StringIO()
    rows = await export(database.sessions, file, DAY, NEXT, {"org_1": "acme"}, **options)
    read = list(csv.DictReader(io.StringIO(file.getvalue())))
    assert len(read) == rows
    assert file.getvalue().splitlines()[0] == ",".join(HEAD)
    return read


async def test_each_sum_is_a_row(database: Database) -> None:
    batch = account(key_id="", adapter=FT, is_batch=True)
    await add(
        database,
        {
            Entry(NEXT, batch): Amounts(1, 2, 3, 4, 5, 6, 7),
            Entry(DAY, account("org_2")): tokens(5),
            Entry(NEXT + timedelta(1), account()): tokens(9),
        },
    )
    first, second = await exported(database)
    assert (first["day"], first["organization_id"], first["organization"]) == (
        "2026-01-31",
        "org_2",
        "",
    )
    assert list(second.values()) == [
        *("2026-02-01", "org_1", "acme", "", "base", FT, "true"),
        *("1", "2", "3", "4", "5", "6", "7"),
    ]


async def test_one_organisation_is_exported_where_it_is_asked_for(database: Database) -> None:
    sums = {Entry(DAY, account(org)): tokens(5) for org in ("org_1", "org_2")}
    await add(database, sums)
    assert [row["organization_id"] for row in await exported(database, org_id="org_2")] == ["org_2"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
async def test_no_cell_is_a_formula(database: Database, start: str) -> None:
    name = f'{start}HYPERLINK("http://example.test","x")'
    await add(database, {Entry(DAY, account(model=name)): tokens(1)})
    [row] = await exported(database)
    assert row["model"] == "'" + name
