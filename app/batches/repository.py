"""The SQL of batches as their owners see them, and of what a batch is to be made from.

Every query for a client carries the organisation. A batch and its counts are read in one statement:
between two, its chunks may be gone.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches.types import UNFINISHED, Step
from app.db.clock import NOW
from app.db.locks import lock_transaction
from app.db.tables import BatchChunkRow, BatchRow, FileRow
from app.pagination import PageRequest, fetch_page

CANCELLABLE = ("validating", "in_progress")


class NewBatch(NamedTuple):
    """What a client asks for, by its key. `seconds` is `window`'s length, `labels` is JSON."""

    id: str
    org_id: str
    input_file_id: str
    endpoint: str
    window: str
    seconds: int
    labels: str | None
    key_id: str


class FoundBatch(NamedTuple):
    """A batch, and the sums over its chunks; all zero where it has none."""

    row: BatchRow
    total: int
    completed: int
    failed: int


class StepInput(NamedTuple):
    """What a batch that is being validated is to be made from. Size and digest are the file's.

    They are None where the file is gone.
    """

    endpoint: str
    file_id: str
    bytes: int | None
    sha256: str | None


async def admit_one(session: AsyncSession, org_id: str) -> int:
    """Return how many batches of an organisation are unfinished.

    No other transaction that asks this gets an answer before this one ends.
    """
    await lock_transaction(session, f"batches of {org_id}")
    unfinished = (BatchRow.org_id == org_id) & BatchRow.status.in_(UNFINISHED)
    count = await session.scalar(select(func.count()).select_from(BatchRow).where(unfinished))
    return count or 0


async def add(session: AsyncSession, batch: NewBatch) -> BatchRow:
    """Insert a batch that is to be validated; its times are the database's."""
    values = {
        **{name: getattr(batch, name) for name in NewBatch._fields if name != "seconds"},
        **{"status": "validating", "created_at": NOW, "expires_at": NOW + batch.seconds},
        **{"total": 0, "completed": 0, "failed": 0, "leased_until": 0, "attempts": 0},
    }
    return (await session.scalars(insert(BatchRow).values(values).returning(BatchRow))).one()


async def take_back(session: AsyncSession, org_id: str, batch_id: str) -> None:
    """Delete a batch that nobody has begun to work on."""
    untouched = (BatchRow.status == "validating") & BatchRow.token.is_(None)
    mine = (BatchRow.org_id == org_id) & (BatchRow.id == batch_id)
    await session.execute(delete(BatchRow).where(mine, untouched))


async def find(session: AsyncSession, org_id: str, batch_id: str) -> FoundBatch | None:
    """Return the organisation's batch of this id."""
    row = (await session.execute(_batches(org_id).where(BatchRow.id == batch_id))).one_or_none()
    return None if row is None else FoundBatch(*row)


async def list_page(
    session: AsyncSession, org_id: str, page: PageRequest, ids: Collection[str] | None
) -> tuple[Sequence[FoundBatch], bool]:
    """Return one page of the organisation's batches, of these ids if given, and if more follow."""
    statement = _batches(org_id)
    if ids is not None:
        statement = statement.where(BatchRow.id.in_(ids))
    rows, has_more = await fetch_page(session, statement, BatchRow.id, page)
    return [FoundBatch(*row) for row in rows], has_more


async def cancel(session: AsyncSession, org_id: str, batch_id: str) -> bool:
    """Have the organisation's batch cancelled, if it still can be; tell whether it could."""
    mine = (BatchRow.org_id == org_id) & (BatchRow.id == batch_id)
    statement = (
        update(BatchRow)
        .where(mine, BatchRow.status.in_(CANCELLABLE))
        .values(status="cancelling", cancelling_at=NOW)
        .returning(BatchRow.id)
    )
    return (await session.scalar(statement)) is not None


async def step_input(session: AsyncSession, step: Step) -> StepInput | None:
    """Return what is to be validated; None where the step is not this one's any more."""
    file = (FileRow.id == BatchRow.input_file_id) & (FileRow.org_id == BatchRow.org_id)
    held = (BatchRow.id == step.batch_id) & (BatchRow.token == step.token)
    statement = (
        select(BatchRow.endpoint, BatchRow.input_file_id, FileRow.bytes, FileRow.sha256)
        .outerjoin(FileRow, file)
        .where(held, BatchRow.org_id == step.org_id, BatchRow.status == "validating")
    )
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else StepInput(*row)


def _batches(org_id: str) -> Select[*tuple[Any, ...]]:
    columns = (BatchChunkRow.lines, BatchChunkRow.completed, BatchChunkRow.failed)
    sums = (func.coalesce(func.sum(column), 0) for column in columns)
    return (
        select(BatchRow, *sums)
        .outerjoin(BatchChunkRow, BatchChunkRow.batch_id == BatchRow.id)
        .where(BatchRow.org_id == org_id)
        .group_by(BatchRow.id)
    )
