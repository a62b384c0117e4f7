"""The SQL of organisations and keys; every function works in its caller's transaction."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.tables import ApiKeyRow, OrganizationRow
from app.ids import new_id


class ListedKey(NamedTuple):
    """A key as an operator sees it; `revoked_at` is None while it works."""

    id: str
    organization: str
    created_at: int
    revoked_at: int | None


class ActiveKey(NamedTuple):
    """A key that works, with its organisation's plan; None is the default plan."""

    id: str
    org_id: str
    hash: str
    plan: str | None


class ListedOrganization(NamedTuple):
    """An organisation as an operator sees it; None is the default plan."""

    id: str
    name: str
    plan: str | None
    created_at: int


async def ensure_organization(session: AsyncSession, name: str, *, now: int) -> str:
    """Return the id of the organisation of this name, made if it is new."""
    by_name = select(OrganizationRow.id).where(OrganizationRow.name == name)
    found = await session.scalar(by_name)
    if found is not None:
        return found
    row = OrganizationRow(id=new_id("org"), name=name, created_at=now)
    try:
        async with session.begin_nested():
            session.add(row)
    except IntegrityError:
        # Another process made it since; the savepoint kept the rest of the transaction.
        return (await session.scalars(by_name)).one()
    return row.id


async def list_organizations(session: AsyncSession) -> Sequence[ListedOrganization]:
    """Return all organisations by name."""
    row = OrganizationRow
    columns = (row.id, row.name, row.plan, row.created_at)
    rows = await session.execute(select(*columns).order_by(row.name))
    return [ListedOrganization(*row) for row in rows]


async def set_plan(session: AsyncSession, name: str, plan: str | None) -> bool:
    """Give an organisation a plan, None for the default; tell whether it exists."""
    row = OrganizationRow
    statement = update(row).where(row.name == name).values(plan=plan).returning(row.id)
    return (await session.scalar(statement)) is not None


async def add_key(session: AsyncSession, org_id: str, *, hash: str, now: int) -> str:
    """Store a key's hash and return its id."""
    row = ApiKeyRow(id=new_id("key"), org_id=org_id, hash=hash, created_at=now)
    session.add(row)
    await session.flush()
    return row.id


async def list_keys(session: AsyncSession, *, name: str | None = None) -> Sequence[ListedKey]:
    """Return all keys, or one organisation's, oldest first."""
    columns = (ApiKeyRow.id, OrganizationRow.name, ApiKeyRow.created_at, ApiKeyRow.revoked_at)
    statement = select(*columns).join(OrganizationRow, OrganizationRow.id == ApiKeyRow.org_id)
    if name is not None:
        statement = statement.where(OrganizationRow.name == name)
    rows = await session.execute(statement.order_by(ApiKeyRow.id))
    return [ListedKey(*row) for row in rows]


async def revoke_key(session: AsyncSession, key_id: str, *, now: int) -> bool:
    """End a key; tell whether it exists. The time of a first revocation stays."""
    if await session.get(ApiKeyRow, key_id) is None:
        return False
    active = (ApiKeyRow.id == key_id) & ApiKeyRow.revoked_at.is_(None)
    await session.execute(update(ApiKeyRow).where(active).values(revoked_at=now))
    return True


async def find_active_key(session: AsyncSession, hash: str) -> ActiveKey | None:
    """Return the key of this hash, unless it is revoked."""
    columns = (ApiKeyRow.id, ApiKeyRow.org_id, ApiKeyRow.hash, OrganizationRow.plan)
    statement = select(*columns).join(OrganizationRow, OrganizationRow.id == ApiKeyRow.org_id)
    statement = statement.where(ApiKeyRow.hash == hash, ApiKeyRow.revoked_at.is_(None))
    row = (await session.execute(statement)).one_or_none()
    return None if row is None else ActiveKey(*row)
