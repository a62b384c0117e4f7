"""Registrations under an idempotency key: one version, whatever happens to the first try."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import text

from adapters_registry.errors import InvalidAdapter, StoreUnavailable
from app.adapters.repository import version_of
from app.adapters.service import Version
from app.engine.base import EngineDead
from app.errors import ApiError
from tests.app.adapters.world import BASE, World
from tests.app.idempotency.faults import cancel_at, cancel_in_statement, dead_from


async def register(world: World, file_id: str, key: str = "key", name: str = "mine") -> Version:
    return await world.service.register(
        world.org_id, name=name, base_model=BASE, input_file_id=file_id, key=key
    )


async def ids(world: World) -> list[str]:
    return [version.row.id for version in await world.service.all_of(world.org_id)]


async def delete_all(world: World) -> None:
    for id in await ids(world):
        await world.service.delete(world.org_id, id)
    await world.removals()


async def test_many_registrations_at_once_try_the_engine_once(world: World) -> None:
    file_id = await world.upload()
    versions = await asyncio.gather(*(register(world, file_id) for _ in range(20)))
    assert {version.row.id for version in versions} == {*await ids(world)}
    assert all(version.is_active for version in versions)
    assert len(world.engine.runs) == 1


async def test_a_repeated_registration_leaves_the_alias_where_it_is_by_then(world: World) -> None:
    file_id = await world.upload(seed=1)
    old = await register(world, file_id, "one")
    new = await register(world, await world.upload(seed=2), "two")

    again = await register(world, file_id, "one")

    assert (again.row.id, again.is_active) == (old.row.id, False)
    alias = new.row.fine_tuned_model.rpartition("-")[0]
    assert await world.resolves(alias) == new.row.fine_tuned_model


async def test_another_key_registers_old_weights_again(world: World) -> None:
    file_id = await world.upload(seed=1)
    old = await register(world, file_id, "one")
    await register(world, await world.upload(seed=2), "two")
    again = await register(world, file_id, "three")
    assert (again.row.id, again.is_active) == (old.row.id, True)
    assert (await register(world, file_id, "three")).row.id == old.row.id


async def test_a_repetition_does_not_need_the_upload_any_more(world: World) -> None:
    file_id = await world.upload()
    made = await register(world, file_id)
    await world.store.delete(world.uploads.pop(file_id))
    assert (await register(world, file_id)).row.id == made.row.id


async def test_another_name_is_another_request(world: World) -> None:
    file_id = await world.upload()
    await register(world, file_id)
    with pytest.raises(ApiError) as caught:
        await register(world, file_id, name="other")
    assert caught.value.code == "idempotency_key_reused"


async def test_a_refused_adapter_frees_the_key(world: World) -> None:
    with pytest.raises(InvalidAdapter):
        await register(world, await world.upload(rank=4))
    assert await register(world, await world.upload())


async def test_an_engine_that_died_frees_the_key(world: World) -> None:
    file_id = await world.upload()
    world.engine.error = EngineDead("gone")
    with pytest.raises(EngineDead):
        await register(world, file_id)
    world.engine.error = None
    assert await register(world, file_id)


async def test_weights_that_could_not_be_mended_are_mended_by_the_repetition(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id = await world.upload()
    version = await register(world, file_id, "one")
    resident = (await world.resolver.resolve(world.org_id, version.row.fine_tuned_model)).version
    assert resident is not None
    await world.registry.discard(resident)
    await world.store.put((await world.artifacts())[1], Path(__file__))

    async def unavailable(key: str, source: Path) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(world.store, "put", unavailable)
        with pytest.raises(StoreUnavailable):
            await register(world, file_id, "two")

    assert (await register(world, file_id, "two")).row.id == version.row.id
    async with world.registry.lease(resident):
        pass


async def test_a_deleted_version_is_not_registered_again(world: World) -> None:
    file_id = await world.upload()
    await world.delete((await register(world, file_id)).row.fine_tuned_model)
    with pytest.raises(ApiError) as caught:
        await register(world, file_id)
    assert caught.value.code == "idempotency_key_object_deleted"
    assert await ids(world) == []


@pytest.mark.parametrize("in_statement", [False, True])
async def test_a_cancellation_at_any_step_leaves_one_version_after_the_retry(
    world: World, in_statement: bool
) -> None:
    file_id = await world.upload()
    step, has_come = 0, True
    while has_come:
        step += 1
        key = f"key {step}"
        work = register(world, file_id, key)
        if in_statement:
            has_come = await cancel_in_statement(step, world.database, work)
        else:
            has_come = await cancel_at(step, work)
        made = await ids(world)
        version = await register(world, file_id, key)
        assert await ids(world) == [version.row.id], step
        assert made in ([], [version.row.id])
        await delete_all(world)
    assert step > 10


async def test_a_crash_at_any_statement_leaves_one_version_after_the_retry(world: World) -> None:
    file_id = await world.upload()
    step, has_come = 0, True
    while has_come:
        step += 1
        key = f"key {step}"
        with dead_from(step, world.database) as taken:
            await asyncio.gather(register(world, file_id, key), return_exceptions=True)
        has_come = len(taken) >= step
        async with world.database.sessions.begin() as session:
            await session.execute(text("UPDATE idempotency_keys SET claimed_until = 1"))
        version = await register(world, file_id, key)
        assert await ids(world) == [version.row.id], step
        async with world.registry.lease(version_of(version.row)):
            pass
        await delete_all(world)
    assert step > 10
