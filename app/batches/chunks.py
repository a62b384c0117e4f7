"""The SQL of chunks: which one a process takes next, and what it writes of the one it has.

A chunk is held by the token in its row; only the holder writes. A write sets what there is in all,
so it can be made again when its answer was lost. Every function works in its caller's transaction.
"""

import json
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clock import NOW
from app.db.tables import BatchChunkRow as Row
from app.db.tables import BatchRow, OrganizationRow

CAREFUL_ATTEMPT = 3
"""From this one on a chunk's lines run one by one, with no other beside them in the process."""
LAST_ATTEMPT = 5
"""By this one, the line that two attempts have died at is given up."""
MOST_CANDIDATES = 200


class Opening(NamedTuple):
    """What a process has room for: chunks of one model.

    None of `adapters` is any adapter; chunks of the base model always fit. `not_of` are
    organisations whose chunks do not. `held` are the tokens of chunks that are at work here: they
    are not abandoned, even if their leases could not be renewed in time.
    """

    model: str
    adapters: Collection[str] | None = None
    not_of: Collection[str] = ()
    held: Collection[str] = ()


class Progress(NamedTuple):
    """The results of a chunk that are stored: the names of their parts, and how many lines."""

    parts: tuple[str, ...] = ()
    completed: int = 0
    failed: int = 0

    @property
    def lines(self) -> int:
        return self.completed + self.failed


class HeldChunk(NamedTuple):
    """A chunk that is ours. `attempts` were begun; a careful one does not count before it begins.

    `plan` is the organisation's, `key_id` the batch's.
    """

    batch_id: str
    number: int
    org_id: str
    key_id: str | None
    plan: str | None
    model: str
    adapter: str
    start: int
    length: int
    lines: int
    progress: Progress
    attempts: int
    is_careful: bool
    token: str


class _Candidate(NamedTuple):
    batch_id: str
    org_id: str
    key_id: str | None
    plan: str | None
    running: int


async def claim(
    session: AsyncSession,
    opening: Opening,
    token: str,
    served: Mapping[str, int],
    *,
    lease_seconds: int,
) -> HeldChunk | None:
    """Take the next chunk that fits, if there is one.

    First comes the organisation with the fewest chunks of the model under way; among equals the one
    that `served` has the lowest number for. While adapters do not fit, nobody goes before it.
    """
    candidates = await _candidates(session, opening)
    candidates.sort(key=lambda one: (one.running, served.get(one.org_id, 0), one.batch_id))
    for candidate in candidates:
        if opening.adapters is not None and candidate.org_id != candidates[0].org_id:
            return None
        if held := await _take(session, opening, candidate, token, lease_seconds):
            return held
    return None


async def begin(session: AsyncSession, held: HeldChunk) -> bool:
    """Count a careful attempt as it begins; False if the chunk is not ours any more."""
    statement = update(Row).where(_is_ours(held)).values(attempts=held.attempts + 1)
    return await session.scalar(statement.returning(Row.number)) is not None


async def write(
    session: AsyncSession,
    held: HeldChunk,
    progress: Progress,
    *,
    attempts: int,
    state: Literal["running", "queued", "done"] = "running",
) -> bool:
    """Write what is stored, and let go of a chunk that does not run on; False if it is not ours."""
    values = {
        "parts": json.dumps(progress.parts),
        "completed": progress.completed,
        "failed": progress.failed,
        "attempts": attempts,
        "state": state,
    }
    if state != "running":
        values |= {"token": None, "leased_until": 0}
    statement = update(Row).where(_is_ours(held)).values(values).returning(Row.number)
    return await session.scalar(statement) is not None


async def written_parts(session: AsyncSession, held: HeldChunk) -> frozenset[str]:
    """Return the parts that the row has; nobody else adds to them until the transaction's end."""
    query = select(Row.parts).where(Row.batch_id == held.batch_id, Row.number == held.number)
    parts = await session.scalar(query.with_for_update())
    return frozenset(json.loads(parts or "[]"))


async def _candidates(session: AsyncSession, opening: Opening) -> list[_Candidate]:
    """Return the batches with a chunk to take, of those first that have the least under way."""
    running = (
        select(Row.org_id, func.count().label("chunks"))
        .where(Row.state == "running", Row.model == opening.model, Row.leased_until >= NOW)
        .group_by(Row.org_id)
        .subquery()
    )
    under_way = func.coalesce(running.c.chunks, 0)
    is_free = select(Row.number).where(Row.batch_id == BatchRow.id, _is_free(opening)).exists()
    query = (
        select(BatchRow.id, BatchRow.org_id, BatchRow.key_id, OrganizationRow.plan, under_way)
        .join(OrganizationRow, OrganizationRow.id == BatchRow.org_id)
        .outerjoin(running, running.c.org_id == BatchRow.org_id)
        .where(BatchRow.status == "in_progress", BatchRow.expires_at > NOW, is_free)
        .order_by(under_way, BatchRow.id)
        .limit(MOST_CANDIDATES)
    )
    if opening.not_of:
        query = query.where(BatchRow.org_id.not_in(opening.not_of))
    return [_Candidate(*row) for row in await session.execute(query)]


async def _take(
    session: AsyncSession,
    opening: Opening,
    candidate: _Candidate,
    token: str,
    lease_seconds: int,
) -> HeldChunk | None:
    """Take a batch's first chunk that fits; one that somebody else is taking is passed over."""
    query = select(Row).where(Row.batch_id == candidate.batch_id, _is_free(opening))
    if opening.adapters is not None:
        query = query.where(Row.adapter.in_(["", *opening.adapters]))
    # Those of processes that died come last: what killed them may be in there.
    query = query.order_by(Row.state, Row.number).limit(1).with_for_update(skip_locked=True)
    row = (await session.scalars(query)).one_or_none()
    if row is None:
        return None
    is_careful = row.attempts >= CAREFUL_ATTEMPT - 1
    row.state, row.token = "running", token
    row.attempts += not is_careful
    row.leased_until = NOW + lease_seconds
    await session.flush()
    return _held(row, candidate, token, is_careful=is_careful)


def _held(row: Row, candidate: _Candidate, token: str, *, is_careful: bool) -> HeldChunk:
    return HeldChunk(
        batch_id=row.batch_id,
        number=row.number,
        org_id=row.org_id,
        key_id=candidate.key_id,
        plan=candidate.plan,
        model=row.model,
        adapter=row.adapter,
        start=row.start,
        length=row.length,
        lines=row.lines,
        progress=Progress(tuple(json.loads(row.parts)), row.completed, row.failed),
        attempts=row.attempts,
        is_careful=is_careful,
        token=token,
    )


def _is_free(opening: Opening) -> ColumnElement[bool]:
    is_over = and_(Row.leased_until < NOW, Row.token.not_in(opening.held))
    is_abandoned = and_(Row.state == "running", is_over)
    return and_(Row.model == opening.model, or_(Row.state == "queued", is_abandoned))


def _is_ours(held: HeldChunk) -> ColumnElement[bool]:
    mine = and_(Row.batch_id == held.batch_id, Row.number == held.number)
    return and_(mine, Row.token == held.token, Row.state == "running")
