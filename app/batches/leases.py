"""Keeps what a process holds: one statement for all its chunks, one for all its steps.

Only the database's clock counts. A lease that is over goes on unless another process has taken it.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches.types import UNFINISHED
from app.db.clock import NOW
from app.db.tables import BatchChunkRow, BatchRow


class Holdings(NamedTuple):
    """Tokens of chunks and of steps, and the batches of the chunks."""

    chunks: Collection[str]
    steps: Collection[str]
    batches: Collection[str]


class Kept(NamedTuple):
    """The tokens that still hold, and the batches whose lines need no answer any more."""

    chunks: set[str]
    steps: set[str]
    ended: set[str]


async def renew(session: AsyncSession, holdings: Holdings, *, lease_seconds: int) -> Kept:
    """Hold everything for so long from now; tell what others have taken."""
    until = {"leased_until": NOW + lease_seconds}
    chunk, batch = BatchChunkRow, BatchRow
    chunks = update(chunk).where(chunk.state == "running", chunk.token.in_(holdings.chunks))
    steps = update(batch).where(batch.status.in_(UNFINISHED), batch.token.in_(holdings.steps))
    runs_on = (batch.status == "in_progress") & (batch.expires_at > NOW)
    running = select(batch.id).where(batch.id.in_(holdings.batches), runs_on)
    kept = Kept(set(), set(), set(holdings.batches))
    if holdings.chunks:
        kept.chunks.update(await session.scalars(chunks.values(until).returning(chunk.token)))
        kept.ended.difference_update(await session.scalars(running))
    if holdings.steps:
        kept.steps.update(await session.scalars(steps.values(until).returning(batch.token)))
    return kept


async def end_all(session: AsyncSession) -> None:
    """Let every lease be over, where no other process can be there that holds one."""
    await session.execute(update(BatchChunkRow).values(leased_until=0))
    await session.execute(update(BatchRow).values(leased_until=0))
