"""SQL of upkeep, for the files and batches of all organisations at once.

It goes by the database's clock, and leaves alone what another replica is at.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import CompoundSelect, delete, exists, func, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clock import NOW
from app.db.tables import UNFINISHED, BatchChunkRow, BatchRow, FileRow

PURPOSES = ("batch", "batch_output")
"""Of the files that are kept for a time; the others are kept until they are deleted."""
IS_READ = exists().where(BatchRow.input_file_id == FileRow.id, BatchRow.status.in_(UNFINISHED))


class OldFiles(NamedTuple):
    """What one step has looked at and removed; `last` is None once nothing is left to look at."""

    removed: Sequence[str]
    last: str | None


async def needed(session: AsyncSession, ids: Collection[str]) -> set[str]:
    """Return those of the ids that a file has, or will have once its batch ends.

    The second matters as much: such an object may lie in the store long before its row is made.
    """
    unfinished = BatchRow.status.in_(UNFINISHED)
    outputs, errors = BatchRow.output_file_id, BatchRow.error_file_id
    query: CompoundSelect[Any] = union(
        select(FileRow.id).where(FileRow.id.in_(ids)),
        select(outputs).where(unfinished, outputs.in_(ids)),
        select(errors).where(unfinished, errors.in_(ids)),
    )
    return set((await session.scalars(query)).all())


async def remove_old_files(
    session: AsyncSession, *, keep_seconds: int, after: str, at_most: int
) -> OldFiles:
    """Remove, in order of their ids after one, old files of batches that no batch reads."""
    candidates = (
        select(FileRow.id)
        .where(FileRow.id > after, FileRow.purpose.in_(PURPOSES))
        .where(FileRow.created_at < NOW - keep_seconds, ~IS_READ)
        .order_by(FileRow.id)
        .limit(at_most)
        .with_for_update(skip_locked=True)
    )
    ids = (await session.scalars(candidates)).all()
    # A batch may have come between what that statement saw and its locks; none does from here on.
    statement = delete(FileRow).where(FileRow.id.in_(ids), ~IS_READ).returning(FileRow.id)
    removed = (await session.scalars(statement)).all()
    return OldFiles(removed, ids[-1] if len(ids) == at_most else None)


async def remove_old_batches(session: AsyncSession, *, keep_seconds: int, at_most: int) -> int:
    """Remove batches that ended long ago, and tell how many."""
    ended_at = func.coalesce(
        BatchRow.completed_at, BatchRow.failed_at, BatchRow.expired_at, BatchRow.cancelled_at
    )
    old = (
        select(BatchRow.id)
        .where(BatchRow.status.not_in(UNFINISHED), ended_at < NOW - keep_seconds)
        .order_by(BatchRow.id)
        .limit(at_most)
        .with_for_update(skip_locked=True)
    )
    ids = (await session.scalars(old)).all()
    # Chunks go when their batch ends; one that has stayed must not keep the others for ever.
    await session.execute(delete(BatchChunkRow).where(BatchChunkRow.batch_id.in_(ids)))
    await session.execute(delete(BatchRow).where(BatchRow.id.in_(ids)))
    return len(ids)
