"""The SQL of files. Every query carries the organisation; there is none without."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.locks import lock_transaction
from app.db.tables import UNFINISHED, BatchRow, FileRow
from app.files.errors import FileInUse, QuotaExceeded
from app.pagination import PageRequest, fetch_page

COLUMNS = (FileRow.id, FileRow.bytes, FileRow.created_at, FileRow.filename, FileRow.purpose)


class StoredFile(NamedTuple):
    """What is known of one file."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str


async def add_file(session: AsyncSession, row: FileRow, *, quota_bytes: int) -> None:
    """Insert a file, unless the organisation would keep more than its quota with it.

    Additions to one organisation follow one another from here to the end of their transactions.
    **Raises:** QuotaExceeded.
    """
    await lock_transaction(session, _lock_name(row.org_id))
    used = await used_bytes(session, row.org_id)
    if used + row.bytes > quota_bytes:
        raise QuotaExceeded(used=used, quota_bytes=quota_bytes)
    session.add(row)
    await session.flush()


async def used_bytes(session: AsyncSession, org_id: str) -> int:
    """Return the bytes of all the organisation's files, results of batches among them."""
    total = await session.scalar(select(func.sum(FileRow.bytes)).where(FileRow.org_id == org_id))
    return int(total or 0)


async def find_file(
    session: AsyncSession, org_id: str, file_id: str, *, lock: bool = False
) -> StoredFile | None:
    """Return the organisation's file of this id.

    With `lock` it cannot be deleted before the transaction ends: so a batch takes its input.
    """
    statement = select(*COLUMNS).where(FileRow.org_id == org_id, FileRow.id == file_id)
    if lock:
        statement = statement.with_for_update()
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
    """Delete the organisation's file of this id; tell whether there was one.

    Waits for additions that are about to commit, so that who does not know what became of one may
    delete it. **Raises:** FileInUse.
    """
    await lock_transaction(session, _lock_name(org_id))
    if await find_file(session, org_id, file_id, lock=True) is None:
        return False
    # Not in the statement that locks: that one may have looked before a batch took the file.
    reader = select(BatchRow.id).where(
        BatchRow.input_file_id == file_id, BatchRow.status.in_(UNFINISHED)
    )
    batch_id = await session.scalar(reader.limit(1))
    if batch_id is not None:
        raise FileInUse(batch_id)
    mine = (FileRow.org_id == org_id) & (FileRow.id == file_id)
    await session.execute(delete(FileRow).where(mine))
    return True


def _lock_name(org_id: str) -> str:
    return f"files of {org_id}"
