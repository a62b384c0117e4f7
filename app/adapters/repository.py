"""SQL for registered adapters. What concerns all organisations at once says so."""

from collections.abc import Collection, Sequence

from sqlalchemy import ScalarSelect, Update, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from adapters_registry.types import AdapterVersion, Digest
from app.adapters.names import MAX_MODEL_ID, Alias, parse_alias
from app.db.tables import FineTuningRow


def version_of(row: FineTuningRow) -> AdapterVersion:
    """Return what the registry leases for a row."""
    return AdapterVersion(Digest(row.digest), row.base_model, row.stored_as, row.size_bytes)


async def insert(session: AsyncSession, row: FineTuningRow) -> None:
    """Add a version, which its alias stands for from now on.

    **Raises:** sqlalchemy.exc.IntegrityError when it is registered already.
    """
    row.activation = await session.scalar(select(_next_activation(row))) or 1
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
    return await current(session, alias) if alias.org_id == org_id else None


async def current(session: AsyncSession, alias: Alias) -> FineTuningRow | None:
    """Find the version that an alias stands for: the one activated last."""
    query = (
        select(FineTuningRow)
        .where(
            FineTuningRow.org_id == alias.org_id,
            FineTuningRow.base_model == alias.base_model,
            FineTuningRow.name == alias.name,
        )
        .order_by(FineTuningRow.activation.desc(), FineTuningRow.id.desc())
        .limit(1)
    )
    return await session.scalar(query)


async def activate(
    session: AsyncSession, row: FineTuningRow, *, input_file_id: str | None = None
) -> FineTuningRow | None:
    """Have the alias stand for this version, and return it anew; None where it is gone.

    With a file it counts as an upload from now on, wherever it came from.
    """
    statement = update(FineTuningRow).where(FineTuningRow.id == row.id)
    statement = statement.values(activation=_next_activation(row))
    if input_file_id is not None:
        statement = statement.values(input_file_id=input_file_id, source=None)
    return await _updated(session, statement)


async def pin(session: AsyncSession, row: FineTuningRow, until: int | None) -> FineTuningRow | None:
    """Keep a version loaded until a time, or no longer; None where it is gone."""
    statement = update(FineTuningRow).where(FineTuningRow.id == row.id)
    return await _updated(session, statement.values(pinned_until=until))


async def _updated(session: AsyncSession, statement: Update) -> FineTuningRow | None:
    options = {"synchronize_session": False, "populate_existing": True}
    return await session.scalar(statement.returning(FineTuningRow), execution_options=options)


async def is_current(session: AsyncSession, row: FineTuningRow) -> bool:
    """Tell whether the version's alias stands for it."""
    found = await current(session, Alias(row.base_model, row.org_id, row.name))
    return found is not None and found.id == row.id


async def all_of(
    session: AsyncSession, org_id: str, *, name: str | None = None, base_model: str | None = None
) -> Sequence[FineTuningRow]:
    """List an organisation's versions, newest first: all, or those of one name or base model."""
    query = select(FineTuningRow).where(FineTuningRow.org_id == org_id)
    if name is not None:
        query = query.where(FineTuningRow.name == name)
    if base_model is not None:
        query = query.where(FineTuningRow.base_model == base_model)
    return (await session.scalars(query.order_by(FineTuningRow.id.desc()))).all()


async def remove(session: AsyncSession, org_id: str, id: str) -> bool:
    """Delete a version; False when there is none."""
    statement = delete(FineTuningRow).where(FineTuningRow.org_id == org_id, FineTuningRow.id == id)
    result = await session.execute(statement.returning(FineTuningRow.id))
    return result.first() is not None


async def pinned(session: AsyncSession, base_model: str, *, now: int) -> list[FineTuningRow]:
    """List the pinned versions of a base model, whoever owns them, oldest version first."""
    query = select(FineTuningRow).where(
        FineTuningRow.base_model == base_model, FineTuningRow.pinned_until > now
    )
    return list((await session.scalars(query.order_by(FineTuningRow.id))).all())


async def by_source(session: AsyncSession, source: str) -> Sequence[FineTuningRow]:
    """List the versions that came from one place in the bucket, whoever owns them."""
    return (
        await session.scalars(select(FineTuningRow).where(FineTuningRow.source == source))
    ).all()


async def registered(session: AsyncSession, digests: Collection[str]) -> set[str]:
    """Return those of the digests that a version of any organisation has."""
    query = select(FineTuningRow.digest).where(FineTuningRow.digest.in_(digests))
    return set((await session.scalars(query)).all())


async def stored(session: AsyncSession, ids: Collection[str]) -> set[str]:
    """Return those of the artifacts in the store that a version of any organisation needs."""
    query = select(FineTuningRow.stored_as).where(FineTuningRow.stored_as.in_(ids))
    return set((await session.scalars(query)).all())


def _next_activation(row: FineTuningRow) -> ScalarSelect[int]:
    return (
        select(func.coalesce(func.max(FineTuningRow.activation), 0) + 1)
        .where(
            FineTuningRow.org_id == row.org_id,
            FineTuningRow.base_model == row.base_model,
            FineTuningRow.name == row.name,
        )
        .scalar_subquery()
    )
