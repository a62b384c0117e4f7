"""Pins: loaded and kept so, as many as leave every other adapter its turn."""

import asyncio

import pytest

from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    ObjectNotFound,
    StoreUnavailable,
)
from adapters_registry.testing import RecordingHost, until
from adapters_registry.types import AdapterVersion, Digest, Tier
from tests.adapters_registry.world import BASE, EngineDied, closed, open_world, release


@pytest.fixture
async def world(tmp_path):
    async with open_world(tmp_path, RecordingHost(4, slots=2)) as world:
        yield world


def pinned(world):
    return list(world.registry.pins)


async def test_a_pinned_version_is_loaded_and_takes_no_turn(world):
    await world.registry.pin(world.versions[0])
    assert world.known() == {world.versions[0]}
    assert (pinned(world), world.stats().pinned) == ([world.versions[0]], 1)
    assert world.stats().turns == (0, 0, 0)
    assert [load[1] for load in world.loads] == [Tier.STORE]


async def test_a_pinned_version_survives_the_pressure_of_all_others(world):
    await world.registry.pin(world.versions[0])
    for version in world.versions[1:] * 3:
        await world.touch(version)
    assert (await world.touch(world.versions[0])).tier is Tier.ENGINE
    assert not await world.cache.remove(world.versions[0].digest)
    assert [adapter.version for adapter in world.host.loads].count(world.versions[0]) == 1


async def test_pinning_again_does_nothing(world):
    await world.registry.pin(world.versions[0])
    await world.registry.pin(world.versions[0])
    assert (pinned(world), len(world.host.loads)) == ([world.versions[0]], 1)
    world.registry.unpin(world.versions[0])
    assert world.residents().leased == 0


async def test_pinning_what_is_loaded_loads_nothing(world):
    await world.touch(world.versions[0])
    await world.registry.pin(world.versions[0])
    assert len(world.host.loads) == 1


async def test_so_many_places_as_slots_are_never_pinned(world):
    for version in world.versions[:2]:
        await world.registry.pin(version)
    with pytest.raises(AdapterCapacityExceeded):
        await world.registry.pin(world.versions[2])
    assert pinned(world) == world.versions[:2]
    assert world.versions[2] not in world.known()


async def test_a_pin_past_the_limit_is_refused_before_it_is_fetched(world):
    for version in world.versions[:2]:
        await world.registry.pin(version)
    gets = world.store.gets.total()
    with pytest.raises(AdapterCapacityExceeded):
        await world.registry.pin(world.versions[2])
    assert world.store.gets.total() == gets


async def test_pins_that_are_made_at_once_are_counted_right(world):
    with closed(world.host.open):
        pinning = [asyncio.create_task(world.registry.pin(each)) for each in world.versions]
        await until(lambda: world.host.loads)
    results = await asyncio.gather(*pinning, return_exceptions=True)
    assert sum(isinstance(result, AdapterCapacityExceeded) for result in results) == 3
    assert set(pinned(world)) == world.known()
    assert len(pinned(world)) == 2


async def test_an_unpinned_version_stays_until_others_need_its_place(world):
    await world.registry.pin(world.versions[0])
    world.registry.unpin(world.versions[0])
    world.registry.unpin(world.versions[0])
    assert (pinned(world), world.known()) == ([], {world.versions[0]})
    for version in world.versions[1:]:
        await world.touch(version)
    assert world.versions[0] not in world.known()


async def test_unpinning_frees_a_place_for_another_pin(world):
    for version in world.versions[:2]:
        await world.registry.pin(version)
    world.registry.unpin(world.versions[0])
    await world.registry.pin(world.versions[2])
    assert pinned(world) == world.versions[1:3]


@pytest.mark.parametrize("error", [AdapterLoadFailed, EngineDied, StoreUnavailable, ObjectNotFound])
async def test_a_pin_that_fails_leaves_nothing(world, error):
    version = world.versions[0]
    if error is AdapterLoadFailed:
        world.host.refused.add(version.digest)
    elif error is EngineDied:
        world.host.load_error = EngineDied()
    elif error is StoreUnavailable:
        world.store.error = StoreUnavailable("down")
    else:
        version = AdapterVersion(Digest("0" * 64), BASE, "nowhere")
    with pytest.raises(error):
        await world.registry.pin(version)
    assert (pinned(world), world.residents().leased) == ([], 0)
    world.host.refused.clear()
    world.host.load_error = world.store.error = None
    for each in world.versions[:2]:
        await world.registry.pin(each)


@pytest.mark.parametrize("gate", ["store", "host"])
async def test_a_cancelled_pin_leaves_nothing(world, gate):
    with closed(getattr(world, gate).open):
        pinning = asyncio.create_task(world.registry.pin(world.versions[0]))
        await until(lambda: world.store.gets if gate == "store" else world.host.loads)
        pinning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pinning
    await world.touch(world.versions[0])
    assert (pinned(world), world.residents().leased) == ([], 0)


async def test_a_pin_that_waited_for_another_tells_where_its_weights_were(world):
    """What was at hand when it was asked for may be gone when its turn to be pinned comes."""
    slow, evicted = world.versions[:2]
    await world.touch(evicted)
    with closed(world.store.open):
        first = asyncio.create_task(world.registry.pin(slow))
        await until(lambda: world.store.gets.total() == 4)
        second = asyncio.create_task(world.registry.pin(evicted))
        await asyncio.sleep(0)
        await world.registry.discard(evicted)
    await asyncio.gather(first, second)
    assert [load[1] for load in world.loads] == [Tier.STORE] * 3


async def test_pins_wait_for_running_leases_and_not_for_their_turns(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    await world.registry.pin(world.versions[3])
    await world.registry.pin(world.versions[4])
    assert world.known() == {*world.versions[:2], *world.versions[3:]}
    await holders[0].release()
    await waiting.held()
    await release(waiting, holders[1])


async def test_closing_ends_pins_that_are_being_made(world):
    with closed(world.host.open):
        pinning = [asyncio.create_task(world.registry.pin(each)) for each in world.versions[:2]]
        await until(lambda: world.host.loads)
        await world.registry.close()
    for task in pinning:
        with pytest.raises(AdapterCapacityExceeded):
            await task
    assert (world.store.gets.total(), len(world.host.loads)) == (2, 1)
    assert await world.cache.remove(world.versions[0].digest)
