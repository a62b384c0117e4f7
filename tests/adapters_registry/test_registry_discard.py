"""Discarding: gone from engine and disk once nobody uses it, and nobody is refused meanwhile."""

import asyncio

import pytest

from adapters_registry.cache import DiskCache
from adapters_registry.digest import artifact_digest
from adapters_registry.errors import AdapterCapacityExceeded, ObjectNotFound
from adapters_registry.testing import RecordingHost, until
from adapters_registry.types import Tier
from tests.adapters_registry.world import EngineDied, closed, open_world, release


@pytest.fixture
async def world(tmp_path):
    async with open_world(tmp_path, RecordingHost(3, slots=2)) as world:
        yield world


def discard(world, version):
    return asyncio.create_task(world.registry.discard(version))


async def is_waiting(task):
    """Tell whether a task is still not done once everything has come to rest."""
    for _ in range(50):
        await asyncio.sleep(0)
    return not task.done()


async def test_an_idle_version_goes_from_engine_and_disk(world):
    await world.touch(world.versions[0])
    await world.registry.discard(world.versions[0])
    assert (world.host.known, world.residents().resident) == ({}, 0)
    assert world.is_gone(world.versions[0])


async def test_a_version_that_is_only_on_disk_goes(world):
    for version in world.versions[:4]:
        await world.touch(version)
    assert world.is_on_disk(world.versions[0])
    assert world.versions[0] not in world.known()
    await world.registry.discard(world.versions[0])
    assert world.is_gone(world.versions[0])


async def test_discarding_what_is_nowhere_is_quiet_and_repeatable(world):
    await world.registry.discard(world.versions[0])
    await world.registry.discard(world.versions[0])
    assert world.store.gets.total() == 0
    assert (world.host.loads, world.host.unloads) == ([], [])


async def test_a_discarded_version_may_come_back_under_a_fresh_id(world):
    first = await world.touch(world.versions[0])
    await world.registry.discard(world.versions[0])
    second = await world.touch(world.versions[0])
    assert second.tier is Tier.STORE
    assert second.adapter.engine_id > first.adapter.engine_id


async def test_it_waits_for_those_who_use_the_version(world):
    holders = await world.hold_all(world.versions[0], world.versions[0])
    discarding = discard(world, world.versions[0])
    assert await is_waiting(discarding)
    await holders[0].release()
    assert await is_waiting(discarding)
    assert world.known() == {world.versions[0]}
    assert world.is_on_disk(world.versions[0])
    await holders[1].release()
    await discarding
    assert world.is_gone(world.versions[0])


async def test_it_refuses_nobody_and_waits_for_who_came_later(world):
    holders = await world.hold_all(world.versions[0])
    discarding = discard(world, world.versions[0])
    await asyncio.sleep(0)
    holders += await world.hold_all(world.versions[0])
    assert holders[1].lease.result().tier is Tier.ENGINE
    await holders[0].release()
    assert await is_waiting(discarding)
    await holders[1].release()
    await discarding
    assert world.is_gone(world.versions[0])


async def test_it_waits_for_those_who_wait_for_their_turn(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    discarding = discard(world, world.versions[2])
    assert await is_waiting(discarding)
    await holders[0].release()
    await waiting.held()
    await release(waiting, holders[1])
    await discarding
    assert world.is_gone(world.versions[2])


async def test_it_waits_for_a_fetch_and_its_user(world):
    with closed(world.store.open):
        fetching = world.hold(world.versions[0])
        await until(lambda: world.store.gets.total() == 2)
        discarding = discard(world, world.versions[0])
        assert await is_waiting(discarding)
    await fetching.held()
    await fetching.release()
    await discarding
    assert world.is_gone(world.versions[0])


async def test_it_waits_for_a_fetch_that_is_for_nobody_any_more(world):
    with closed(world.store.open):
        gone = world.hold(world.versions[0])
        await until(lambda: world.store.gets.total() == 2)
        await gone.cancel()
        discarding = discard(world, world.versions[0])
        assert await is_waiting(discarding)
    await discarding
    assert world.is_gone(world.versions[0])
    assert world.store.gets.total() == 2


@pytest.mark.parametrize("is_refused", [True, False])
async def test_it_waits_for_a_load_that_is_for_nobody_any_more(world, is_refused):
    if is_refused:
        world.host.refused.add(world.versions[0].digest)
    with closed(world.host.open):
        gone = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        await gone.cancel()
        discarding = discard(world, world.versions[0])
        assert await is_waiting(discarding)
    await discarding
    assert world.is_gone(world.versions[0])
    assert world.residents().resident == 0


async def test_it_waits_for_who_joins_a_load_that_was_for_nobody(world):
    with closed(world.host.open):
        gone = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        await gone.cancel()
        discarding = discard(world, world.versions[0])
        assert await is_waiting(discarding)
        joined = world.hold(world.versions[0])
        await asyncio.sleep(0)
    await joined.held()
    assert await is_waiting(discarding)
    await joined.release()
    await discarding
    assert world.is_gone(world.versions[0])


async def test_it_waits_for_an_unload_that_is_under_way(world):
    for version in world.versions[:3]:
        await world.touch(version)
    with closed(world.host.open):
        other = world.hold(world.versions[3])
        await until(lambda: world.host.unloads)
        discarding = discard(world, world.versions[0])
        assert await is_waiting(discarding)
    await discarding
    assert len(world.host.unloads) == 1
    assert world.is_gone(world.versions[0])
    await other.held()
    await other.release()


async def test_who_asks_during_the_unload_gets_the_version_again(world):
    await world.touch(world.versions[0])
    with closed(world.host.open):
        discarding = discard(world, world.versions[0])
        await until(lambda: world.host.unloads)
        late = world.hold(world.versions[0])
        await asyncio.sleep(0)
    lease = await late.held()
    await discarding
    assert lease.adapter.engine_id in world.host.known
    assert artifact_digest(lease.adapter.path) == world.versions[0].digest
    await late.release()
    await world.registry.discard(world.versions[0])
    assert world.is_gone(world.versions[0])


async def test_who_asks_when_the_store_has_lost_it_is_told(world):
    await world.touch(world.versions[0])
    await world.registry.discard(world.versions[0])
    world.store.objects.clear()
    with pytest.raises(ObjectNotFound):
        await world.touch(world.versions[0])


async def test_two_discards_are_one_and_a_caller_may_be_cancelled(world):
    holders = await world.hold_all(world.versions[0])
    discards = [discard(world, world.versions[0]) for _ in range(2)]
    await asyncio.sleep(0)
    discards[0].cancel()
    await holders[0].release()
    await discards[1]
    assert discards[0].cancelled()
    assert len(world.host.unloads) == 1
    assert world.is_gone(world.versions[0])


async def test_it_goes_on_when_its_only_caller_goes_away(world):
    holders = await world.hold_all(world.versions[0])
    discarding = discard(world, world.versions[0])
    await asyncio.sleep(0)
    discarding.cancel()
    await holders[0].release()
    await until(lambda: world.is_gone(world.versions[0]))


async def test_an_unload_that_fails_is_told_and_may_be_tried_again(world):
    await world.touch(world.versions[0])
    world.host.unload_error = EngineDied()
    for _ in range(2):
        with pytest.raises(EngineDied):
            await world.registry.discard(world.versions[0])
        assert world.is_on_disk(world.versions[0])
        assert world.residents().resident == 1
    world.host.unload_error = None
    await world.registry.discard(world.versions[0])
    assert world.host.known == {}
    assert world.is_gone(world.versions[0])


async def test_a_version_that_could_not_be_unloaded_is_served_again_under_a_fresh_id(world):
    first = await world.touch(world.versions[0])
    world.host.unload_error = EngineDied()
    with pytest.raises(EngineDied):
        await world.registry.discard(world.versions[0])
    world.host.unload_error = None
    second = await world.touch(world.versions[0])
    assert second.adapter.engine_id > first.adapter.engine_id
    assert list(world.host.known) == [second.adapter.engine_id]


async def test_it_ends_a_pin(world):
    await world.registry.pin(world.versions[0])
    await world.registry.discard(world.versions[0])
    assert list(world.registry.pins) == []
    assert world.is_gone(world.versions[0])


@pytest.mark.parametrize("gate", ["store", "host"])
async def test_it_waits_for_a_pin_that_is_being_made_and_ends_it(world, gate):
    with closed(getattr(world, gate).open):
        pinning = asyncio.create_task(world.registry.pin(world.versions[0]))
        await until(lambda: world.store.gets if gate == "store" else world.host.loads)
        discarding = discard(world, world.versions[0])
        assert await is_waiting(discarding)
    await pinning
    await discarding
    assert list(world.registry.pins) == []
    assert world.is_gone(world.versions[0])


async def test_an_entry_that_is_gone_from_disk_is_no_error(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    await waiting.cancel()
    await world.cache.remove(world.versions[2].digest)
    await world.registry.discard(world.versions[2])
    assert world.is_gone(world.versions[2])
    await release(*holders)


async def test_an_entry_that_another_process_uses_is_left_to_it(world):
    await world.touch(world.versions[0])
    async with DiskCache(world.root, world.store, max_bytes=1 << 20) as other:
        pin = await other.fetch(world.versions[0])
        await world.registry.discard(world.versions[0])
        assert world.host.known == {}
        assert world.is_on_disk(world.versions[0])
        pin.release()


@pytest.mark.parametrize("phase", ["used", "unloading"])
async def test_closing_ends_a_discard(world, phase):
    holders = await world.hold_all(world.versions[0])
    if phase == "unloading":
        await release(*holders)
    with closed(world.host.open):
        discarding = discard(world, world.versions[0])
        await asyncio.sleep(0)
        if phase == "unloading":
            await until(lambda: world.host.unloads)
        await world.registry.close()
    with pytest.raises(AdapterCapacityExceeded):
        await discarding
    if phase == "used":
        await release(*holders)
