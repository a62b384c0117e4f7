"""How much batch work there is, as the database tells it: the same to every replica.

Read now and then, not for each reader of metrics. It only reads, and knows no organisation.
"""

from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.batches.types import UNFINISHED
from app.db.clock import NOW
from app.db.tables import BatchChunkRow, BatchRow

STATS_SECONDS = 15.0
"""How often a replica should look."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """Unfinished work.

    `batches` counts by status. `queued_lines` have no result yet and nobody at work on them,
    `running_lines` none yet but somebody; both by base model, empty for lines that ask none of this
    deployment. Ages are seconds, 0 where there is no such batch; a waiting batch is one that nobody
    has begun with. `overdue_chunks` are taken by processes that were not heard of in time.
    """

    batches: dict[str, int] = field(default_factory=dict)
    queued_lines: dict[str, int] = field(default_factory=dict)
    running_lines: dict[str, int] = field(default_factory=dict)
    overdue_chunks: int = 0
    oldest_seconds: int = 0
    oldest_waiting_seconds: int = 0


class QueueObserver(Protocol):
    """Is shown the queue each time it was looked at."""

    def queue_seen(self, stats: QueueStats) -> None: ...


class QueueWatch:
    """Looks at the queue and shows it to an observer; for a periodic task."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], observer: QueueObserver) -> None:
        self._sessions = sessions
        self._observer = observer

    async def look(self) -> None:
        """Look once."""
        async with self._sessions() as session:
            stats = await read_stats(session)
        self._observer.queue_seen(stats)


async def read_stats(session: AsyncSession) -> QueueStats:
    """Read the queue, in two queries."""
    batches: dict[str, int] = {}
    oldest = oldest_waiting = 0
    for status, count, age, waiting_age in await session.execute(_BATCHES):
        batches[status] = count
        oldest = max(oldest, age)
        oldest_waiting = max(oldest_waiting, waiting_age or 0)
    lines: dict[str, dict[str, int]] = {"queued": {}, "running": {}}
    overdue = 0
    for state, model, count, late in await session.execute(_CHUNKS):
        lines[state][model] = count
        overdue += late
    return QueueStats(batches, lines["queued"], lines["running"], overdue, oldest, oldest_waiting)


def _age(which: ColumnElement[bool] | None = None) -> ColumnElement[int]:
    created: ColumnElement[int] = func.min(BatchRow.created_at)
    if which is not None:
        created = created.filter(which)
    return NOW - created


_BEGUN = (
    select(BatchChunkRow.number)
    .where(
        BatchChunkRow.batch_id == BatchRow.id,
        (BatchChunkRow.state != "queued") | (BatchChunkRow.attempts > 0),
    )
    .exists()
)
_WAITING = BatchRow.status.in_(("validating", "in_progress")) & ~_BEGUN
_BATCHES = (
    select(BatchRow.status, func.count(), _age(), _age(_WAITING))
    .where(BatchRow.status.in_(UNFINISHED))
    .group_by(BatchRow.status)
)
_LEFT = BatchChunkRow.lines - BatchChunkRow.completed - BatchChunkRow.failed
_IS_OVERDUE = (BatchChunkRow.state == "running") & (BatchChunkRow.leased_until < NOW)
_CHUNKS = (
    select(
        BatchChunkRow.state,
        BatchChunkRow.model,
        func.sum(_LEFT),
        func.count().filter(_IS_OVERDUE),
    )
    .where(BatchChunkRow.state.in_(("queued", "running")))
    .group_by(BatchChunkRow.state, BatchChunkRow.model)
)
