"""Minting, listing and revoking on both databases."""

import asyncio

import pytest
from sqlalchemy import select

from app.auth.errors import InvalidOrganizationName, KeyNotFound
from app.auth.service import KeyService
from app.db.engine import Database
from app.db.tables import ApiKeyRow, OrganizationRow

PEPPER = b"p" * 32


@pytest.fixture
def keys(database: Database) -> KeyService:
    return KeyService(database.sessions, PEPPER, clock=lambda: 1_700_000_000.9)


async def test_a_minted_key_is_stored_as_its_hash_alone(
    database: Database, keys: KeyService
) -> None:
    minted = await keys.create("acme")
    async with database.sessions() as session:
        row = (await session.scalars(select(ApiKeyRow))).one()
    assert (row.id, row.org_id, row.created_at) == (minted.id, minted.org_id, 1_700_000_000)
    assert minted.text not in vars(row).values()
    assert len(row.hash) == 64


async def test_a_minted_key_does_not_show_in_its_representation(keys: KeyService) -> None:
    minted = await keys.create("acme")
    assert minted.text not in repr(minted)


async def test_mints_at_the_same_moment_make_one_organisation(
    database: Database, keys: KeyService
) -> None:
    minted = await asyncio.gather(*(keys.create("acme") for _ in range(10)))
    assert len({key.org_id for key in minted}) == 1
    async with database.sessions() as session:
        assert len((await session.scalars(select(OrganizationRow))).all()) == 1


async def test_keys_are_listed_by_organisation_oldest_first(keys: KeyService) -> None:
    first, second = await keys.create("acme"), await keys.create("acme")
    other = await keys.create("globex")
    assert [key.id for key in await keys.list("acme")] == [first.id, second.id]
    assert [key.id for key in await keys.list()] == [first.id, second.id, other.id]
    assert await keys.list("nobody") == []


async def test_a_second_revocation_keeps_the_time_of_the_first(database: Database) -> None:
    times = iter([1.0, 2.0, 3.0])
    keys = KeyService(database.sessions, PEPPER, clock=lambda: next(times))
    minted = await keys.create("acme")
    await keys.revoke(minted.id)
    await keys.revoke(minted.id)
    assert [key.revoked_at for key in await keys.list()] == [2]


@pytest.mark.parametrize("key_id", ["", "key_01", "key_\0", "x" * 100_000])
async def test_an_unknown_key_cannot_be_revoked(keys: KeyService, key_id: str) -> None:
    with pytest.raises(KeyNotFound):
        await keys.revoke(key_id)


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a" * 64, "a\n", "ä", "a\0"])
async def test_a_bad_name_makes_nothing(keys: KeyService, name: str) -> None:
    with pytest.raises(InvalidOrganizationName):
        await keys.create(name)
    assert await keys.list() == []
