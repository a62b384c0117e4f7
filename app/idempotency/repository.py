"""The SQL of idempotency keys. All times are the database's own, so replicas need not agree."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.clock import NOW
from app.db.tables import IdempotencyKeyRow as Row

IS_ABANDONED = and_(Row.object_id.is_(None), Row.claimed_until < NOW)


class Claimed(NamedTuple):
    """A key and the attempt, named by its token, that claims it."""

    org_id: str
    key: str
    token: str


class Held(NamedTuple):
    """What the database has of a key; `object_id` once the object is made."""

    token: str
    fingerprint: str
    object_id: str | None


async def take(
    session: AsyncSession, claimed: Claimed, fingerprint: str, *, lease_seconds: int
) -> Held | None:
    """Claim the key if it is free or abandoned; return who holds it now.

    None if it became free in the meantime.
    """
    held = await _find(session, claimed)
    if held is not None:
        return held
    of_key = (Row.org_id == claimed.org_id) & (Row.key == claimed.key)
    await session.execute(delete(Row).where(of_key, IS_ABANDONED))
    # Not by a failed insert: that would end the transaction on PostgreSQL.
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    insert = sqlite.insert(Row) if is_sqlite else postgresql.insert(Row)
    values = {
        **claimed._asdict(),
        "fingerprint": fingerprint,
        "claimed_until": NOW + lease_seconds,
        "created_at": NOW,
    }
    await session.execute(insert.values(values).on_conflict_do_nothing())
    return await _find(session, claimed)


async def extend(session: AsyncSession, claimed: Claimed, *, lease_seconds: int) -> None:
    """Claim the key for longer, if it is still claimed."""
    statement = update(Row).where(_is(claimed)).values(claimed_until=NOW + lease_seconds)
    await session.execute(statement)


async def complete(session: AsyncSession, claimed: Claimed, object_id: str) -> bool:
    """Note what the claim has made; False if another attempt has taken the key."""
    statement = update(Row).where(_is(claimed), Row.object_id.is_(None))
    statement = statement.values(object_id=object_id)
    return await session.scalar(statement.returning(Row.token)) is not None


async def free(session: AsyncSession, claimed: Claimed) -> bool:
    """Free the key unless its object is made; tell whether this claim has made it.

    Waits for a transaction that is about to note the object.
    """
    await session.execute(delete(Row).where(_is(claimed), Row.object_id.is_(None)))
    return await session.scalar(select(Row.token).where(_is(claimed))) is not None


async def forget(session: AsyncSession, *, keep_seconds: int, at_most: int) -> int:
    """Remove the oldest keys that are past their time and not in use; tell how many."""
    is_running = and_(Row.object_id.is_(None), Row.claimed_until >= NOW)
    old = (
        select(Row.org_id, Row.key)
        .where(Row.created_at < NOW - keep_seconds, ~is_running)
        .order_by(Row.created_at)
        .limit(at_most)
        .with_for_update(skip_locked=True)
    )
    statement = delete(Row).where(tuple_(Row.org_id, Row.key).in_(old)).returning(Row.key)
    return len((await session.scalars(statement)).all())


async def _find(session: AsyncSession, claimed: Claimed) -> Held | None:
    query = select(Row.token, Row.fingerprint, Row.object_id).where(
        Row.org_id == claimed.org_id, Row.key == claimed.key, ~IS_ABANDONED
    )
    row = (await session.execute(query)).one_or_none()
    return None if row is None else Held(*row)


def _is(claimed: Claimed) -> ColumnElement[bool]:
    return and_(Row.org_id == claimed.org_id, Row.key == claimed.key, Row.token == claimed.token)
