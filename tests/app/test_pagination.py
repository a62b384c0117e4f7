"""Cursors over a table, on both databases."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from app.db.engine import Database
from app.db.tables import OrganizationRow
from app.errors import ApiError
from app.ids import new_id
from app.pagination import Listed, Order, Page, PageRequest, fetch_page


@pytest.fixture
async def ids(database: Database) -> list[str]:
    ids = [new_id("org") for _ in range(10)]
    async with database.sessions.begin() as session:
        session.add_all(OrganizationRow(id=id, name=id[4:], created_at=0) for id in reversed(ids))
    return ids


async def fetch(database: Database, page: PageRequest) -> tuple[list[str], bool]:
    async with database.sessions() as session:
        statement = select(OrganizationRow.id)
        rows, has_more = await fetch_page(session, statement, OrganizationRow.id, page)
    return [row.id for row in rows], has_more


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 3, 9, 10, 11])
async def test_following_the_cursor_yields_every_row_once_in_order(
    database: Database, ids: list[str], order: Order, limit: int
) -> None:
    seen: list[str] = []
    has_more = True
    while has_more:
        after = seen[-1] if seen else None
        page, has_more = await fetch(database, PageRequest(limit, after, order))
        assert 0 < len(page) <= limit
        seen += page
    assert seen == (ids if order == "asc" else ids[::-1])


async def test_nothing_follows_the_last_row(database: Database, ids: list[str]) -> None:
    assert await fetch(database, PageRequest(5, ids[-1], "asc")) == ([], False)


@pytest.mark.parametrize("after", ["", "org_", "\0", "x" * 10_000, "org_é", "' OR 1=1 --"])
async def test_a_text_that_is_no_id_is_refused_as_a_cursor(
    database: Database, ids: list[str], after: str
) -> None:
    with pytest.raises(ApiError) as caught:
        await fetch(database, PageRequest(5, after))
    assert (caught.value.status, caught.value.param) == (400, "after")


async def test_a_cursor_that_is_gone_still_says_where_to_go_on(
    database: Database, ids: list[str]
) -> None:
    statement = select(OrganizationRow.id).where(OrganizationRow.id != ids[1])
    async with database.sessions() as session:
        page = PageRequest(5, ids[1], "asc")
        rows, _ = await fetch_page(session, statement, OrganizationRow.id, page)

    assert [row.id for row in rows] == ids[2:7]


@given(st.integers(0, 5), st.booleans())
def test_a_page_names_its_first_and_last_item(size: int, has_more: bool) -> None:
    items = [Listed(id=f"org_{number}") for number in range(size)]
    page = Page[Listed].of(items, has_more=has_more)
    assert (page.object, page.data, page.has_more) == ("list", items, has_more)
    ends = (items[0].id, items[-1].id) if items else (None, None)
    assert (page.first_id, page.last_id) == ends
