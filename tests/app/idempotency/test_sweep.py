"""Keys are kept for their time and no longer; what still runs is left alone."""

import asyncio

import pytest

from app.errors import ApiError
from app.idempotency import sweep
from app.idempotency.sweep import forget_old_keys
from tests.app.idempotency.conftest import Resource


async def age(resource: Resource, seconds: int) -> None:
    await resource.execute(f"UPDATE idempotency_keys SET created_at = created_at - {seconds}")


async def test_a_key_lives_for_its_time(resource: Resource) -> None:
    id = await resource.create()
    await age(resource, 86_000)
    await forget_old_keys(resource.database.sessions)
    assert await resource.create() == id


async def test_an_old_key_is_removed_and_may_be_used_anew(resource: Resource) -> None:
    await resource.create("a")
    await age(resource, 86_402)
    await forget_old_keys(resource.database.sessions)
    assert await resource.keys() == 0
    await resource.create("b")
    assert len(await resource.rows()) == 2


async def test_a_key_in_use_outlives_its_time(resource: Resource) -> None:
    resource.gate.clear()
    first = asyncio.create_task(resource.create())
    await resource.begun.wait()
    await age(resource, 90_000)
    await forget_old_keys(resource.database.sessions)
    resource.gate.set()
    assert [await first] == [await resource.create()]


async def test_an_abandoned_claim_is_removed_too(resource: Resource) -> None:
    resource.gate.clear()
    first = asyncio.create_task(resource.create())
    await resource.begun.wait()
    await age(resource, 90_000)
    await resource.expire_leases()
    await forget_old_keys(resource.database.sessions)
    assert await resource.keys() == 0
    resource.gate.set()
    with pytest.raises(ApiError):
        await first
    assert await resource.rows() == []


async def test_two_sweeps_at_once_remove_all_in_small_batches(
    resource: Resource, replica: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 3)
    for number in range(20):
        await resource.create(key=str(number))
    await age(resource, 90_000)
    await resource.create(key="new")
    sides = (resource, replica)
    await asyncio.gather(*(forget_old_keys(side.database.sessions) for side in sides))
    await forget_old_keys(resource.database.sessions)
    assert await resource.keys() == 1
