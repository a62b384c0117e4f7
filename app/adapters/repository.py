"""SQL for registered adapters; every query but the reference count names its organisation."""

from collections.abc import Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.adapters.names import MAX_MODEL_ID, Alias, parse_alias
from app.db.tables import FineTuningRow


async def insert(session: AsyncSession, row: FineTuningRow) -> None:
    """Add a version. **Raises:** sqlalchemy.exc.IntegrityError when it is registered already."""
    session.add(row)
    await session.flush()


async def by_id(session: AsyncSession, org_id: str, id: str) -> FineTuningRow | None:
    """Find one by its `ft_` id."""
    query = select(FineTuningRow).where(FineTuningRow.org_id == org_id, FineTuningRow.id == id)
    return await session.scalar(query)


async def by_model(session: AsyncSession, org_id: str, model: str) -> FineTuningRow | None:
    """Find one by its immutable model id."""
    query = select(FineTuningRow).where(
        FineTuningRow.org_id == org_id, FineTuningRow.fine_tuned_model == model
    )
    return await session.scalar(query)


async def by_name(session: AsyncSession, org_id: str, model: str) -> FineTuningRow | None:
    """Find one by its immutable model id or its alias; other texts cost no query."""
    if not model.startswith("ft:") or len(model) > MAX_MODEL_ID or "\0" in model:
        return None
    alias = parse_alias(model)
    if alias is None:
        return await by_model(session, org_id, model)
    return await newest(session, alias) if alias.org_id == org_id else None


async def newest(session: AsyncSession, alias: Alias) -> FineTuningRow | None:
    """Find the version that an alias stands for: the one registered last."""
    query = (
        select(FineTuningRow)
        .where(
            FineTuningRow.org_id == alias.org_id,
            FineTuningRow.base_model == alias.base_model,
            FineTuningRow.name == alias.name,
        )
        .order_by(FineTuningRow.id.desc())
        .limit(1)
    )
    return await session.scalar(query)


async def all_of(session: AsyncSession, org_id: str) -> Sequence[FineTuningRow]:
    """List an organisation's versions, newest first."""
    query = (
        select(FineTuningRow)
        .where(FineTuningRow.org_id == org_id)
        .order_by(FineTuningRow.id.desc())
    )
    return (await session.scalars(query)).all()


async def remove(session: AsyncSession, org_id: str, id: str) -> bool:
    """Delete a version; False when there is none."""
    statement = delete(FineTuningRow).where(FineTuningRow.org_id == org_id, FineTuningRow.id == id)
    result = await session.execute(statement.returning(FineTuningRow.id))
    return result.first() is not None


async def references(session: AsyncSession, digest: str) -> int:
    """Count the versions, of any organisation, that rest on one artifact."""
    query = select(func.count()).where(FineTuningRow.digest == digest)
    return await session.scalar(query) or 0
