"""Leases: one fetch and one load for all, failures that keep nothing, the end of a registry."""

import asyncio
from contextlib import suppress

import pytest

from adapters_registry.artifacts import ARTIFACT_FILES, artifact_key, publish, unpublish
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    ObjectCorrupt,
    ObjectNotFound,
)
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import RecordingHost, make_artifact, until
from adapters_registry.types import WEIGHTS_FILE, AdapterVersion, Digest, Tier
from tests.adapters_registry.descriptors import open_below
from tests.adapters_registry.world import (
    BASE,
    SIZE,
    EngineDied,
    closed,
    open_world,
    release,
)


@pytest.fixture
async def world(tmp_path):
    async with open_world(tmp_path, RecordingHost(2)) as world:
        yield world


async def test_a_lease_names_a_loaded_adapter_with_whole_files(world):
    async with world.registry.lease(world.versions[0]) as lease:
        assert world.host.known == {lease.adapter.engine_id: lease.adapter}
        assert lease.adapter.version == world.versions[0]
        assert lease.adapter.path == world.root / world.versions[0].digest
        assert {path.name for path in lease.adapter.path.iterdir()} == set(ARTIFACT_FILES)
        assert lease.wait_seconds > 0


async def test_the_tier_tells_where_the_weights_were(world):
    first, second, third, fourth = world.versions[:4]
    assert (await world.touch(first)).tier is Tier.STORE
    assert (await world.touch(first)).tier is Tier.ENGINE
    await world.touch(second)
    await world.touch(third)
    assert (await world.touch(first)).tier is Tier.DISK
    assert (await world.touch(fourth)).tier is Tier.STORE
    assert [load[:2] for load in world.loads] == [
        (first, Tier.STORE),
        (second, Tier.STORE),
        (third, Tier.STORE),
        (first, Tier.DISK),
        (fourth, Tier.STORE),
    ]
    assert all(load[2] > 0 for load in world.loads)


async def test_fifty_first_leases_share_one_fetch_and_one_load(world):
    holders = [world.hold(world.versions[0]) for _ in range(50)]
    leases = [await holder.held() for holder in holders]
    assert {lease.adapter.engine_id for lease in leases} == {leases[0].adapter.engine_id}
    assert {lease.tier for lease in leases} == {Tier.STORE}
    assert (set(world.store.gets.values()), len(world.store.gets)) == ({1}, 2)
    assert (len(world.host.loads), len(world.loads)) == (1, 1)
    assert world.residents().leased == 1
    await release(*holders)
    assert world.residents().leased == 0


async def test_a_lease_that_joins_during_the_load_has_the_tier_of_that_load(world):
    with closed(world.host.open):
        first = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        second = world.hold(world.versions[0])
        await asyncio.sleep(0)
    assert (await second.held()).tier is Tier.STORE
    await release(first, second)


async def test_a_lease_tells_how_long_it_took(world):
    loop = asyncio.get_running_loop()
    before = loop.time()
    with closed(world.host.open):
        holder = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        loading = loop.time()
        await until(lambda: loop.time() > loading)
        waited = loop.time() - loading
    assert waited < (await holder.held()).wait_seconds < loop.time() - before
    await holder.release()


async def test_without_an_observer_loads_go_untold(world):
    registry = AdapterRegistry(world.cache, {BASE: world.host}, wait_seconds=60)
    async with registry.lease(world.versions[0]):
        assert world.loads == []
    await registry.close()


async def test_an_unknown_base_model_is_a_key_error(world):
    version = AdapterVersion(world.versions[0].digest, "other")
    for ask in (world.touch, world.registry.pin, world.registry.forget):
        with pytest.raises(KeyError):
            await ask(version)


async def test_a_client_that_goes_away_during_the_fetch_does_not_stop_it_for_others(world):
    with closed(world.store.open):
        gone, staying = world.hold(world.versions[0]), world.hold(world.versions[0])
        await until(lambda: world.store.gets.total() == 2)
        await gone.cancel()
    await staying.held()
    assert world.store.gets.total() == 2
    await staying.release()


async def test_a_client_that_goes_away_during_the_load_does_not_stop_it_for_others(world):
    with closed(world.host.open):
        gone, staying = world.hold(world.versions[0]), world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        await gone.cancel()
    await staying.held()
    assert len(world.host.loads) == 1
    await staying.release()


async def test_a_load_that_nobody_waits_for_any_more_ends_idle(world):
    with closed(world.host.open):
        gone = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        await gone.cancel()
    assert (await world.touch(world.versions[0])).tier in (Tier.STORE, Tier.ENGINE)
    assert len(world.host.loads) == 1
    assert world.residents().leased == 0


async def test_a_leased_adapter_is_not_unloaded(world):
    leased, idle, new = world.versions[:3]
    async with world.registry.lease(leased):
        await world.touch(idle)
        await world.touch(new)
        assert [adapter.version for adapter in world.host.unloads] == [idle]


async def test_an_adapter_that_made_room_is_still_on_disk(world):
    for version in world.versions[:3]:
        await world.touch(version)
    assert [adapter.version for adapter in world.host.unloads] == [world.versions[0]]
    assert world.is_on_disk(world.versions[0])


async def test_a_version_being_unloaded_is_not_loaded_again_before_it_is_gone(world):
    first, second, third = world.versions[:3]
    await world.touch(first)
    await world.touch(second)
    with closed(world.host.open):
        new = world.hold(third)
        await until(lambda: world.host.unloads)
        back = world.hold(first)
        await until(lambda: world.residents().waiting == 2)
    await new.held()
    adapter = (await back.held()).adapter
    assert [known.version for known in world.host.known.values()].count(first) == 1
    assert adapter.engine_id in world.host.known
    await release(new, back)


async def test_a_refused_load_fails_all_waiters_and_keeps_nothing(world):
    world.host.refused.add(world.versions[0].digest)
    with closed(world.host.open):
        holders = [world.hold(world.versions[0]) for _ in range(3)]
        await until(lambda: world.host.loads)
    for holder in holders:
        with pytest.raises(AdapterLoadFailed):
            await holder.task
    assert (world.residents().resident, world.loads) == (0, [])
    assert await world.cache.remove(world.versions[0].digest)


async def test_a_load_after_a_refused_one_has_a_fresh_id(world):
    world.host.refused.add(world.versions[0].digest)
    with pytest.raises(AdapterLoadFailed):
        await world.touch(world.versions[0])
    world.host.refused.clear()
    lease = await world.touch(world.versions[0])
    assert lease.adapter.engine_id > world.host.loads[0].engine_id > 0


async def test_a_load_that_broke_off_is_unloaded_before_it_is_tried_again(world):
    world.host.load_error = EngineDied()
    with pytest.raises(EngineDied):
        await world.touch(world.versions[0])
    assert (world.residents().resident, len(world.host.known)) == (1, 1)
    world.host.load_error = None
    with closed(world.host.open):
        holder = world.hold(world.versions[0])
        await until(lambda: world.host.unloads)
        await until(lambda: world.residents().waiting == 1)
        assert len(world.host.loads) == 1
    await holder.held()
    assert [adapter.engine_id for adapter in world.host.unloads] == [world.host.loads[0].engine_id]
    assert list(world.host.known) == [world.host.loads[1].engine_id]
    await holder.release()


async def test_an_unload_that_fails_fails_those_who_wait_and_is_tried_again(world):
    first, second, third, fourth = world.versions[:4]
    await world.touch(first)
    await world.touch(second)
    world.host.unload_error = EngineDied()
    with pytest.raises(EngineDied):
        await world.touch(third)
    assert world.residents().resident == 2
    world.host.unload_error = None
    await world.touch(fourth)
    assert world.known() == {second, fourth}


@pytest.mark.parametrize("is_gone", [True, False])
async def test_bad_objects_are_never_loaded_and_leave_no_trace(world, is_gone):
    version = world.versions[0]
    if is_gone:
        await unpublish(world.store, version.stored_as)
    else:
        world.store.objects[artifact_key(version.stored_as, WEIGHTS_FILE)] = b"flipped"
    with pytest.raises(ObjectNotFound if is_gone else ObjectCorrupt):
        await world.touch(version)
    assert world.host.loads == []
    assert world.residents().resident == 0
    assert not world.is_on_disk(version)


async def test_unknown_digests_evict_nothing(world):
    await world.touch(world.versions[0])
    await world.touch(world.versions[1])
    with pytest.raises(ObjectNotFound):
        await world.touch(AdapterVersion(Digest("0" * 64), BASE, "nowhere"))
    assert world.host.unloads == []


async def stored_twice(world, tmp_path):
    artifact = make_artifact(tmp_path / "again", BASE, bytes([0]) * 100, stored_as="again")
    await publish(world.store, artifact, "again")
    assert artifact.version == world.versions[0]
    return world.versions[0], artifact.version


async def test_content_that_is_stored_twice_is_loaded_once(world, tmp_path):
    first, second = await stored_twice(world, tmp_path)
    holders = await world.hold_all(first, second)
    assert len({holder.lease.result().adapter.engine_id for holder in holders}) == 1
    assert len(world.host.loads) == 1
    await release(*holders)


async def test_a_deleted_copy_fails_only_those_who_ask_for_it(world, tmp_path):
    deleted, kept = await stored_twice(world, tmp_path)
    await unpublish(world.store, deleted.stored_as)
    with closed(world.store.open):
        fails = world.hold(deleted)
        serves = world.hold(kept)
        await until(lambda: world.store.gets.total() == 4)
    with pytest.raises(ObjectNotFound):
        await fails.task
    await serves.held()
    await serves.release()


async def test_a_deleted_copy_is_not_asked_for_while_the_content_is_here(world, tmp_path):
    deleted, kept = await stored_twice(world, tmp_path)
    await world.touch(kept)
    await unpublish(world.store, deleted.stored_as)
    assert (await world.touch(deleted)).tier is Tier.ENGINE


async def test_closing_ends_fetches_loads_and_waits(world):
    holders = await world.hold_all(world.versions[0])
    with closed(world.host.open):
        loading = world.hold(world.versions[1])
        await until(lambda: len(world.host.loads) == 2)
        waiting = await world.wait_for_turn(world.versions[2])
        world.store.open.clear()
        fetching = world.hold(world.versions[3])
        await until(lambda: world.store.gets.total() == 8)
        await world.registry.close()
        world.store.open.set()
    for holder in (loading, fetching, waiting):
        with pytest.raises(AdapterCapacityExceeded):
            await holder.task
    await release(*holders)
    assert world.is_quiet()
    for version in world.versions[:3]:
        assert world.is_on_disk(version)
        assert await world.cache.remove(version.digest)


async def test_closing_ends_an_unload_and_those_who_wait_for_it(world):
    await world.touch(world.versions[0])
    await world.touch(world.versions[1])
    with closed(world.host.open):
        waiting = world.hold(world.versions[2])
        await until(lambda: world.host.unloads)
        await world.registry.close()
    with pytest.raises(AdapterCapacityExceeded):
        await waiting.task
    assert await world.cache.remove(world.versions[0].digest)


async def test_closing_ends_those_who_wait_for_a_place(world):
    with closed(world.host.open):
        for number in range(2):  # loads for nobody any more
            gone = world.hold(world.versions[number])
            await until(lambda number=number: len(world.host.loads) == number + 1)
            await gone.cancel()
        waiting = world.hold(world.versions[2])
        await until(lambda: world.residents().waiting == 1)
        await world.registry.close()
    with pytest.raises(AdapterCapacityExceeded):
        await waiting.task
    assert len(world.host.loads) == 2


@pytest.mark.parametrize("ticks", range(20))
async def test_closing_ends_a_lease_at_every_step_of_it(world, ticks):
    await world.touch(world.versions[0])
    world.host.known.clear()
    registry = world.new_registry()
    holder = world.hold(world.versions[0], registry)
    for _ in range(ticks):
        await asyncio.sleep(0)
    await registry.close()
    with suppress(AdapterCapacityExceeded):
        await holder.held()
        await holder.release()
    assert holder.task.done()
    assert registry.stats().hosts[BASE].turns == (0, 0, 0)


async def test_a_closed_registry_does_nothing_more(world):
    await world.registry.close()
    for ask in (world.touch, world.registry.pin, world.registry.discard):
        with pytest.raises(AdapterCapacityExceeded):
            await ask(world.versions[0])
    await world.registry.close()


async def test_stats_count_places_turns_and_bytes(world):
    async with world.registry.lease(world.versions[0]):
        await world.touch(world.versions[1])
        stats = world.registry.stats()
    host = stats.hosts[BASE]
    residents = host.residents
    assert (residents.capacity, residents.resident, residents.leased) == (2, 2, 1)
    assert (host.turns.running, host.turns.waiting, host.turns.active_flows) == (1, 0, 1)
    assert (host.pinned, stats.cache_bytes) == (0, 2 * SIZE)
    assert set(world.registry.residents()) == set(world.versions[:2])


async def test_a_thousand_leases_leak_neither_tasks_nor_descriptors(world):
    await asyncio.gather(*(world.touch(version) for version in world.versions))
    tasks, descriptors = len(asyncio.all_tasks()), len(open_below(world.root))
    for round_ in range(200):
        versions = world.versions[round_ % 5 :] + world.versions[: round_ % 5]
        await asyncio.gather(*(world.touch(version) for version in versions))
    assert len(asyncio.all_tasks()) == tasks
    assert len(open_below(world.root)) == descriptors
