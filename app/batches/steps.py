"""The SQL of a batch's two steps, validating and finalising: who takes one, and what comes of it.

A step is held by the token in the batch's row. What a step has made is written together with its
end, and only by the holder of the token; a lease that is over is not lost before another takes it.
Every function works in its caller's transaction.
"""

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.batches.types import UNFINISHED, BatchError, ChunkSpec, Status, Step
from app.db.clock import NOW
from app.db.tables import BatchChunkRow, BatchRow, FileRow
from app.ids import new_id

FREE = {"token": None, "leased_until": 0}


class ClaimedStep(NamedTuple):
    """A step that is ours. `attempts` counts this one too."""

    step: Step
    status: Status
    attempts: int


class EndedChunk(NamedTuple):
    """A chunk whose results are final. `finished` of its `lines` have one, in `parts`."""

    start: int
    length: int
    lines: int
    finished: int
    parts: tuple[str, ...]


class Finalising(NamedTuple):
    """What a batch's files are made from, and their ids."""

    status: str
    output_file_id: str | None
    error_file_id: str | None
    chunks: Sequence[EndedChunk]


class ResultFile(NamedTuple):
    """A file of results as it was stored; `sha256` is in hex."""

    id: str
    bytes: int
    sha256: str


Ending = Literal["completed", "expired", "cancelled"]


class Outcome(NamedTuple):
    """How a batch ended. A file without lines is None."""

    status: Ending
    completed: int
    failed: int
    output: ResultFile | None
    error: ResultFile | None


async def claim(
    session: AsyncSession, token: str, *, lease_seconds: int, held: Collection[str] = ()
) -> ClaimedStep | None:
    """Take a step that nobody holds, if there is one; those of the tokens `held` are at work here.

    First comes the organisation that has the fewest under way; among its steps one that was given
    back goes last, so that those that cannot be done now keep no others from it. One that finalises
    fixes the results: chunks that are not done take no more from now on. A batch whose window ends
    before it is validated has none, and expires.
    """
    row = BatchRow
    is_over = row.expires_at <= NOW
    columns = (row.id, row.org_id, row.status, row.attempts, is_over.label("is_over"))
    is_here = and_(row.token.is_not(None), row.token.in_(held))
    query = select(*columns).where(row.leased_until < NOW, ~is_here, _DUE)
    query = query.order_by(_UNDER_WAY, row.attempts, row.leased_until, row.id).limit(1)
    found = (await session.execute(query.with_for_update(skip_locked=True))).one_or_none()
    if found is None or not await _is_due(session, found.id):
        return None
    lease = {"token": token, "leased_until": NOW + lease_seconds, "attempts": found.attempts + 1}
    await session.execute(update(row).where(row.id == found.id).values(lease))
    step = Step(found.id, found.org_id, token)
    status = found.status
    if status != "validating" or found.is_over:
        status = await _begin_finalising(session, step, status)
    return ClaimedStep(step, status, found.attempts + 1)


async def planned(session: AsyncSession, step: Step, chunks: Sequence[ChunkSpec]) -> bool:
    """Put the chunks of a validated batch in the queue; False if the step is not ours any more."""
    values = {"status": "in_progress", "in_progress_at": NOW, "total": _lines(chunks)}
    if not await _end(session, step, ("validating",), values):
        return False
    queued = {"state": "queued", "parts": "[]", "completed": 0, "failed": 0, "attempts": 0, **FREE}
    mine = {"batch_id": step.batch_id, "org_id": step.org_id, **queued}
    rows = [{**mine, "number": number, **chunk._asdict()} for number, chunk in enumerate(chunks)]
    await session.execute(insert(BatchChunkRow), rows)
    return True


async def refused(session: AsyncSession, step: Step, errors: Iterable[BatchError]) -> bool:
    """Let the batch fail with these errors; False if the step is not ours any more."""
    told = json.dumps([asdict(error) for error in errors])
    values = {"status": "failed", "failed_at": NOW, "errors": told, **_NO_FILES}
    if not await _end(session, step, UNFINISHED, values):
        return False
    await _forget_chunks(session, step)
    return True


async def finalising(session: AsyncSession, step: Step) -> Finalising | None:
    """Return what the files are made from; None if the step is not ours any more."""
    columns = (BatchRow.status, BatchRow.output_file_id, BatchRow.error_file_id)
    batch = (await session.execute(select(*columns).where(_is_ours(step)))).one_or_none()
    if batch is None:
        return None
    chunk = BatchChunkRow
    query = select(
        chunk.start, chunk.length, chunk.lines, chunk.completed + chunk.failed, chunk.parts
    )
    query = query.where(chunk.batch_id == step.batch_id).order_by(chunk.number)
    rows = (await session.execute(query)).all()
    return Finalising(*batch, [EndedChunk(*row[:-1], tuple(json.loads(row[-1]))) for row in rows])


async def finished(session: AsyncSession, step: Step, outcome: Outcome) -> bool:
    """End the batch and make its files known; False if the step is not ours any more."""
    values = {
        "status": outcome.status,
        f"{outcome.status}_at": NOW,
        "completed": outcome.completed,
        "failed": outcome.failed,
        "output_file_id": outcome.output and outcome.output.id,
        "error_file_id": outcome.error and outcome.error.id,
    }
    status: Status = "cancelling" if outcome.status == "cancelled" else "finalizing"
    if not await _end(session, step, (status,), values):
        return False
    for kind, file in (("output", outcome.output), ("error", outcome.error)):
        if file is not None:
            await session.execute(insert(FileRow).values(_file_row(step, kind, file)))
    await _forget_chunks(session, step)
    return True


async def release(session: AsyncSession, step: Step) -> None:
    """Let others have the step at once; it was not counted, but others go before it."""
    values = {"token": None, "leased_until": NOW - 1, "attempts": BatchRow.attempts - 1}
    await session.execute(update(BatchRow).where(_is_ours(step)).values(values))


async def _is_due(session: AsyncSession, batch_id: str) -> bool:
    """Look again at what is locked now.

    The statement that locked it may have its status of now, and its chunks of a moment ago: to it,
    a batch that was planned meanwhile has none left to run.
    """
    mine = select(BatchRow.id).where(BatchRow.id == batch_id, BatchRow.leased_until < NOW, _DUE)
    return await session.scalar(mine) is not None


async def _begin_finalising(session: AsyncSession, step: Step, status: Status) -> Status:
    values: dict[str, Any] = {}
    if status in ("validating", "in_progress"):
        status = "finalizing"
        values = {"status": status, "finalizing_at": NOW}
    # Given out once: whoever finalises again writes the same files.
    for column in (BatchRow.output_file_id, BatchRow.error_file_id):
        ours = update(BatchRow).where(_is_ours(step), column.is_(None))
        await session.execute(ours.values({column.key: new_id("file")}))
    if values:
        await session.execute(update(BatchRow).where(_is_ours(step)).values(values))
    chunk = BatchChunkRow
    open_ones = (chunk.batch_id == step.batch_id) & chunk.state.in_(("queued", "running"))
    await session.execute(update(chunk).where(open_ones).values(state="dropped"))
    return status


async def _end(
    session: AsyncSession, step: Step, statuses: Iterable[Status], values: dict[str, Any]
) -> bool:
    """Write the end of a step that is ours, and let go of it."""
    mine = update(BatchRow).where(_is_ours(step), BatchRow.status.in_(statuses))
    ended = mine.values({**values, **FREE, "attempts": 0}).returning(BatchRow.id)
    return await session.scalar(ended) is not None


async def _forget_chunks(session: AsyncSession, step: Step) -> None:
    mine = BatchChunkRow.batch_id == step.batch_id
    await session.execute(delete(BatchChunkRow).where(mine))


def _is_ours(step: Step) -> ColumnElement[bool]:
    return and_(BatchRow.id == step.batch_id, BatchRow.token == step.token)


def _lines(chunks: Iterable[ChunkSpec]) -> int:
    return sum(chunk.lines for chunk in chunks)


def _file_row(step: Step, kind: str, file: ResultFile) -> dict[str, Any]:
    return {
        **file._asdict(),
        "org_id": step.org_id,
        "filename": f"{step.batch_id}_{kind}.jsonl",
        "purpose": "batch_output",
        "created_at": NOW,
    }


def _has_chunk(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    mine = BatchChunkRow.batch_id == BatchRow.id
    return select(BatchChunkRow.number).where(mine, *which).exists()


_OTHER = aliased(BatchRow)
_UNDER_WAY = (
    select(func.count())
    .where(
        _OTHER.org_id == BatchRow.org_id, _OTHER.status.in_(UNFINISHED), _OTHER.leased_until >= NOW
    )
    .correlate(BatchRow)
    .scalar_subquery()
)
"""How many steps of a batch's organisation are held."""
_NO_FILES = {"output_file_id": None, "error_file_id": None}
_IS_OPEN = _has_chunk(BatchChunkRow.state.in_(("queued", "running")))
_IS_RUN = _has_chunk(BatchChunkRow.state == "running", BatchChunkRow.leased_until >= NOW)
_DUE = or_(
    BatchRow.status.in_(("validating", "finalizing")),
    and_(BatchRow.status == "cancelling", ~_IS_RUN),
    and_(BatchRow.status == "in_progress", ~_IS_OPEN),
    and_(BatchRow.status == "in_progress", BatchRow.expires_at <= NOW, ~_IS_RUN),
)
"""Which batches wait for a step. What a live lease holds is waited for, to keep its results."""
