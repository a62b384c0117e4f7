"""Turns: so many adapters run as the engine has slots; who waits is served in turn, or told."""

import asyncio
from collections import Counter
from contextlib import suppress

import pytest

from adapters_registry.artifacts import artifact_key
from adapters_registry.errors import AdapterCapacityExceeded, StoreUnavailable
from adapters_registry.testing import RecordingHost, until
from adapters_registry.types import WEIGHTS_FILE, Tier
from tests.adapters_registry.world import BASE, closed, open_world, release


@pytest.fixture
async def world(tmp_path):
    async with open_world(tmp_path, RecordingHost(3, slots=2, max_running=8)) as world:
        yield world


async def test_no_more_adapters_are_leased_than_the_engine_has_slots(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    assert world.stats().turns == (2, 1, 2)
    assert world.versions[2] not in world.known()
    await holders[0].release()
    await waiting.held()
    await release(waiting, holders[1])


async def test_no_more_leases_are_given_than_the_engine_runs_requests(world):
    holders = [world.hold(world.versions[0]) for _ in range(9)]
    for holder in holders[:8]:
        await holder.held()
    assert (world.stats().turns, holders[8].lease.done()) == ((8, 1, 1), False)
    await holders[0].release()
    await holders[8].held()
    await release(*holders[1:])


async def test_a_wait_for_a_turn_ends_in_exceeded_capacity_and_leaves_no_trace(world):
    registry = world.new_registry(wait_seconds=0.01)
    async with registry.lease(world.versions[0]), registry.lease(world.versions[1]):
        before = registry.stats()
        with pytest.raises(AdapterCapacityExceeded):
            await world.hold(world.versions[2], registry).held()
        assert registry.stats().hosts == before.hosts
        await registry.discard(world.versions[2])
    await world.hold(world.versions[2], registry).release()
    await registry.close()


async def test_a_wait_for_a_place_ends_in_exceeded_capacity_and_leaves_no_trace(world):
    registry = world.new_registry(wait_seconds=0.01)
    with closed(world.host.open):
        for number in range(3):  # three loads for nobody any more
            gone = world.hold(world.versions[number], registry)
            await until(lambda number=number: len(world.host.loads) == number + 1)
            await gone.cancel()
        with pytest.raises(AdapterCapacityExceeded):
            await world.hold(world.versions[3], registry).held()
        host = registry.stats().hosts[BASE]
        assert (host.residents.waiting, host.turns) == (0, (0, 0, 0))
    await registry.close()


async def test_who_does_not_wait_is_refused_at_once_and_nothing_is_fetched(world):
    holders = await world.hold_all(*world.versions[:2])
    with pytest.raises(AdapterCapacityExceeded):
        async with world.registry.lease(world.versions[2], wait_seconds=0):
            pass
    assert world.stats().turns == (2, 0, 2)
    assert not world.is_on_disk(world.versions[2])
    await release(*holders)


async def test_who_does_not_wait_still_has_the_adapter_fetched_and_a_place_made_for_it(world):
    for version in world.versions[:3]:
        await world.touch(version)
    async with world.registry.lease(world.versions[3], wait_seconds=0) as lease:
        assert lease.tier is Tier.STORE
    assert len(world.host.unloads) == 1


async def test_who_does_not_wait_takes_the_turn_of_nobody_who_does(world):
    """A turn that is free for the asking runs at once, also while others wait for a slot."""
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    served = []
    for version in world.versions[:3]:
        with suppress(AdapterCapacityExceeded):
            async with world.registry.lease(version, wait_seconds=0) as lease:
                served.append(lease.adapter.version)
    # One of the two was closed for the one that waits.
    assert served in ([world.versions[0]], [world.versions[1]])
    assert not waiting.lease.done()
    await holders[0].release()
    await waiting.held()
    await release(waiting, holders[1])


async def test_who_does_not_wait_is_refused_where_the_turn_was_taken_during_the_fetch(world):
    for version in world.versions[:2]:
        await world.touch(version)
    with closed(world.store.open):
        late = asyncio.create_task(_taken_without_waiting(world, world.versions[2]))
        await until(lambda: world.store.gets[artifact_key("2", WEIGHTS_FILE)])
        holders = await world.hold_all(*world.versions[:2])
    assert not await late
    await release(*holders)


async def _taken_without_waiting(world, version):
    try:
        async with world.registry.lease(version, wait_seconds=0):
            return True
    except AdapterCapacityExceeded:
        return False


async def test_who_goes_away_while_waiting_for_a_turn_leaves_no_trace(world):
    holders = await world.hold_all(*world.versions[:2])
    gone = await world.wait_for_turn(world.versions[2])
    await gone.cancel()
    assert world.stats().turns == (2, 0, 2)
    await release(*holders)
    assert world.versions[2] not in world.known()


async def test_who_goes_away_as_the_turn_comes_passes_it_on(world):
    holders = await world.hold_all(*world.versions[:2])
    gone = await world.wait_for_turn(world.versions[2])
    waiting = await world.wait_for_turn(world.versions[3])
    holders[0].stop.set()
    await until(lambda: world.stats().turns.waiting == 1)
    await gone.cancel()
    await waiting.held()
    await holders[0].task
    await release(holders[1], waiting)


async def test_adapters_have_their_turns_in_the_order_they_came(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = [await world.wait_for_turn(version) for version in world.versions[2:]]
    for holder in waiting:
        await holders.pop(0).release()
        await holder.held()
        holders.append(holder)
    assert [adapter.version for adapter in world.host.loads[2:]] == world.versions[2:]
    await release(*holders)


async def test_hot_adapters_cannot_starve_a_cold_one(world):
    """However many requests come for the hot ones, few of them pass the cold one's."""
    cold, *hot = world.versions[:3]
    await world.touch(cold)
    served = Counter()

    async def send(version):
        while True:
            async with world.registry.lease(version):
                served[version] += 1
                await asyncio.sleep(0)

    clients = [asyncio.create_task(send(version)) for version in hot * 20]
    try:
        await until(lambda: min(served[version] for version in hot) >= 100, seconds=60)
        served.clear()
        for _ in range(50):
            await world.touch(cold)
    finally:
        for client in clients:
            client.cancel()
        await asyncio.wait(clients)
    assert served.total() <= 50 * 2 * world.host.max_running


async def test_who_waits_for_a_turn_holds_no_bytes(world):
    holders = await world.hold_all(*world.versions[:2])
    waiting = await world.wait_for_turn(world.versions[2])
    assert world.is_on_disk(world.versions[2])
    assert await world.cache.remove(world.versions[2].digest)
    await holders[0].release()
    assert (await waiting.held()).adapter.path.is_dir()
    await release(waiting, holders[1])


async def test_an_adapter_evicted_while_it_waited_for_its_turn_is_fetched_again(world):
    evicted, first, second, third = world.versions[:4]
    await world.touch(evicted)
    holders = await world.hold_all(first, second)
    waiting = await world.wait_for_turn(evicted)
    gets = world.store.gets.total()
    await world.registry.pin(third)
    assert evicted not in world.known()
    assert await world.cache.remove(evicted.digest)
    await holders[0].release()
    assert (await waiting.held()).tier is Tier.STORE
    assert world.store.gets.total() == gets + 4
    world.registry.unpin(third)
    await release(waiting, holders[1])


async def test_a_fetch_that_fails_once_the_turn_has_come_passes_it_on(world):
    evicted, first, second, third = world.versions[:4]
    await world.touch(evicted)
    holders = await world.hold_all(first, second)
    waiting = await world.wait_for_turn(evicted)
    await world.registry.pin(third)
    await world.cache.remove(evicted.digest)
    world.store.error = StoreUnavailable("down")
    await holders[0].release()
    with pytest.raises(StoreUnavailable):
        await waiting.held()
    assert world.stats().turns == (1, 0, 1)
    world.registry.unpin(third)
    await holders[1].release()


async def test_files_that_went_while_a_place_was_made_are_fetched_again(world):
    for version in world.versions[:3]:
        await world.touch(version)
    with closed(world.host.open):
        holder = world.hold(world.versions[3])
        await until(lambda: world.host.unloads)
        await world.cache.remove(world.versions[3].digest)
    await holder.held()
    assert world.store.gets[artifact_key("3", WEIGHTS_FILE)] == 2
    await holder.release()


async def test_a_store_that_fails_while_a_place_is_held_gives_it_back(world):
    for version in world.versions[:3]:
        await world.touch(version)
    with closed(world.host.open):
        holder = world.hold(world.versions[3])
        await until(lambda: world.host.unloads)
        await world.cache.remove(world.versions[3].digest)
        world.store.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await holder.held()
    assert world.residents().resident == 2
    assert world.is_quiet()


async def test_leases_and_pins_always_find_a_place(world):
    await world.registry.pin(world.versions[4])
    for _ in range(20):
        await asyncio.gather(*(world.touch(version) for version in world.versions * 3))
    assert world.versions[4] in world.known()
    world.registry.unpin(world.versions[4])
