"""SQL for the adapters that operators keep in the bucket, as the sync last knew them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Exists, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import BucketAdapterRow, FineTuningRow, OrganizationRow

MAX_VALUES = 500


@dataclass(frozen=True, slots=True)
class Known:
    """What the database has of a directory.

    `applied` is empty where only versions are left. `code` is of a refusal. `is_served` tells
    whether the content published last still is a version.
    """

    base_model: str
    applied: str
    code: str | None
    is_served: bool


async def refused_of(
    session: AsyncSession, org_id: str, *, name: str | None = None, base_model: str | None = None
) -> Sequence[BucketAdapterRow]:
    """List an organisation's adapters whose last state was refused, newest first."""
    query = select(BucketAdapterRow).where(
        BucketAdapterRow.org_id == org_id, BucketAdapterRow.code.is_not(None)
    )
    if name is not None:
        query = query.where(BucketAdapterRow.name == name)
    if base_model is not None:
        query = query.where(BucketAdapterRow.base_model == base_model)
    return (await session.scalars(query.order_by(BucketAdapterRow.id.desc()))).all()


async def refused_by_id(session: AsyncSession, org_id: str, id: str) -> BucketAdapterRow | None:
    """Find a refused one by its `ft_` id."""
    query = select(BucketAdapterRow).where(
        BucketAdapterRow.org_id == org_id,
        BucketAdapterRow.id == id,
        BucketAdapterRow.code.is_not(None),
    )
    return await session.scalar(query)


async def known(session: AsyncSession, base_models: Collection[str]) -> dict[str, Known]:
    """Return what is known of all organisations' directories for these base models, by source.

    Also those that have no row but versions, as a crash between the two leaves them.
    """
    row, version = BucketAdapterRow, FineTuningRow
    rowless = ~select(row.id).where(row.source == version.source).exists()
    versions = select(version.source, version.base_model).where(
        version.base_model.in_(base_models), version.source.is_not(None), rowless
    )
    columns = (row.source, row.base_model, row.applied, row.code, _is_served())
    rows = select(*columns).where(row.base_model.in_(base_models))
    found: dict[str, Known] = {}
    for source, base, applied, code, is_served in await session.execute(rows):
        found[source] = Known(base, applied, code, is_served)
    for origin, base in await session.execute(versions):
        if origin is not None:
            found[origin] = Known(base, "", None, is_served=True)
    return found


async def organizations(session: AsyncSession, references: Collection[str]) -> Mapping[str, str]:
    """Return the ids of those organisations that are referred to by their id or name."""
    ids: dict[str, str] = {}
    wanted = sorted(references)
    for start in range(0, len(wanted), MAX_VALUES):
        some = wanted[start : start + MAX_VALUES]
        row = OrganizationRow
        query = select(row.id, row.name).where(or_(row.id.in_(some), row.name.in_(some)))
        for id, name in await session.execute(query):
            ids |= {id: id, name: id}
    return ids


async def record(session: AsyncSession, row: BucketAdapterRow) -> None:
    """Note what became of a directory; the id and the age of an earlier note stay."""
    query = select(BucketAdapterRow).where(BucketAdapterRow.source == row.source)
    earlier = await session.scalar(query)
    if earlier is None:
        session.add(row)
        return
    earlier.applied, earlier.digest = row.applied, row.digest
    earlier.code, earlier.param, earlier.message = row.code, row.param, row.message


async def remove(session: AsyncSession, source: str) -> None:
    """Forget a directory; an unknown one is no error."""
    await session.execute(delete(BucketAdapterRow).where(BucketAdapterRow.source == source))


def _is_served() -> Exists:
    row, version = BucketAdapterRow, FineTuningRow
    return (
        select(version.id)
        .where(
            version.org_id == row.org_id,
            version.base_model == row.base_model,
            version.name == row.name,
            version.digest == row.digest,
        )
        .exists()
    )
