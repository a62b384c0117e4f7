"""The SQL of files. Every query carries the organisation; there is none without."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import FileRow
from app.pagination import PageRequest, fetch_page

COLUMNS = (FileRow.id, FileRow.bytes, FileRow.created_at, FileRow.filename, FileRow.purpose)


class StoredFile(NamedTuple):
    """What is known of one file."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str


async def find_file(session: AsyncSession, org_id: str, file_id: str) -> StoredFile | None:
    """Return the organisation's file of this id."""
    statement = select(*COLUMNS).where(FileRow.org_id == org_id, FileRow.id == file_id)
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else StoredFile(*row)


async def list_files(
    session: AsyncSession, org_id: str, page: PageRequest, *, purpose: str | None
) -> tuple[Sequence[StoredFile], bool]:
    """Return one page of the organisation's files, and whether more follow."""
    statement = select(*COLUMNS).where(FileRow.org_id == org_id)
    if purpose is not None:
        statement = statement.where(FileRow.purpose == purpose)
    rows, has_more = await fetch_page(session, statement, FileRow.id, page)
    return [StoredFile(*row) for row in rows], has_more


async def delete_file(session: AsyncSession, org_id: str, file_id: str) -> bool:
    """Delete the organisation's file of this id; tell whether there was one."""
    mine = (FileRow.org_id == org_id) & (FileRow.id == file_id)
    deleted = await session.scalars(delete(FileRow).where(mine).returning(FileRow.id))
    return deleted.one_or_none() is not None
