"""A registry whose engine was replaced by one that knows no adapter."""

import asyncio

import pytest

from adapters_registry.errors import EngineReplaced
from adapters_registry.testing import RecordingHost, until
from tests.adapters_registry.world import BASE, closed, open_world, release


@pytest.fixture
async def world(tmp_path):
    async with open_world(tmp_path, RecordingHost(3, slots=2)) as world:
        yield world


async def replace_engine(world):
    await world.registry.forget(BASE)
    world.host.known.clear()


async def test_a_new_engine_knows_nothing_and_loads_anew(world):
    idle = await world.touch(world.versions[0])
    holders = await world.hold_all(world.versions[1])
    await replace_engine(world)
    assert world.residents().resident == 0
    again = await world.touch(world.versions[0])
    assert again.adapter.engine_id > idle.adapter.engine_id
    await release(*holders)
    assert world.known() == {world.versions[0]}


async def test_a_new_engine_ends_loads_of_the_old_one(world):
    with closed(world.host.open):
        loading = [world.hold(version) for version in world.versions[:2]]
        await until(lambda: len(world.host.loads) == 2)
        await replace_engine(world)
    for holder in loading:
        with pytest.raises(EngineReplaced):
            await holder.task
    assert world.is_quiet()
    await world.touch(world.versions[0])


async def test_who_waits_for_a_turn_has_it_on_the_new_engine(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    await replace_engine(world)
    await holders[0].release()
    assert (await waiting.held()).adapter.engine_id in world.host.known
    await release(waiting, holders[1])


async def test_a_new_engine_ends_those_who_wait_for_an_unload_of_the_old_one(world):
    for version in world.versions[:3]:
        await world.touch(version)
    with closed(world.host.open):
        waiting = world.hold(world.versions[3])
        await until(lambda: world.host.unloads)
        await replace_engine(world)
    with pytest.raises(EngineReplaced):
        await waiting.task
    assert world.residents().resident == 0


async def test_a_discard_that_a_new_engine_broke_off_may_be_repeated(world):
    await world.touch(world.versions[0])
    with closed(world.host.open):
        discarding = asyncio.create_task(world.registry.discard(world.versions[0]))
        await until(lambda: world.host.unloads)
        await replace_engine(world)
    with pytest.raises(EngineReplaced):
        await discarding
    await world.registry.discard(world.versions[0])
    assert world.is_gone(world.versions[0])


async def test_a_new_engine_ends_pins_and_frees_their_places(world):
    await world.registry.pin(world.versions[0])
    await replace_engine(world)
    assert (list(world.registry.pins), world.stats().pinned) == ([], 0)
    world.registry.unpin(world.versions[0])
    await world.registry.pin(world.versions[1])
    assert world.known() == {world.versions[1]}


async def test_a_new_engine_ends_a_pin_that_is_being_loaded(world):
    with closed(world.host.open):
        pinning = asyncio.create_task(world.registry.pin(world.versions[0]))
        await until(lambda: world.host.loads)
        await replace_engine(world)
    with pytest.raises(EngineReplaced):
        await pinning
    assert list(world.registry.pins) == []
    await world.registry.pin(world.versions[0])


async def test_leases_of_the_old_engine_hold_no_bytes(world):
    holders = await world.hold_all(world.versions[0])
    await replace_engine(world)
    assert await world.cache.remove(world.versions[0].digest)
    await release(*holders)
