import asyncio
import os
from contextlib import asynccontextmanager

import pytest

from adapters_registry.artifacts import ARTIFACT_FILES, artifact_key, publish, unpublish
from adapters_registry.cache import DiskCache
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    AdapterRetired,
    ObjectCorrupt,
    ObjectNotFound,
    StoreUnavailable,
)
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import MemoryStore, RecordingHost, make_artifact, until
from adapters_registry.types import WEIGHTS_FILE, AdapterVersion, Digest, Tier

BASE = "base"


class EngineDied(Exception):
    """Stands for an engine's own error, which the library does not know."""


class World:
    """A registry over an engine with two places, and what the test holds of it."""

    def __init__(self, root, store, versions):
        self.root = root
        self.store = store
        self.versions = versions
        self.host = RecordingHost(2)
        self.loads = []
        self.cache = DiskCache(root, store, max_bytes=1 << 20)
        self.registry = self.new_registry(wait_seconds=60)

    def new_registry(self, *, wait_seconds):
        return AdapterRegistry(
            self.cache,
            {BASE: self.host},
            wait_seconds=wait_seconds,
            on_load=lambda *load: self.loads.append(load),
        )

    def residents(self):
        return self.registry.stats().residents[BASE]

    def on_disk(self, version):
        return (self.root / version.digest).exists()

    async def touch(self, version):
        async with self.registry.lease(version) as lease:
            return lease

    def hold(self, version):
        return Holder(self.registry, version)


class Holder:
    """A client: a task that takes a lease and keeps it until it is told to stop."""

    def __init__(self, registry, version):
        self.lease = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(self._run(registry, version))

    async def _run(self, registry, version):
        try:
            async with registry.lease(version) as lease:
                self.lease.set_result(lease)
                await self._stop.wait()
        finally:
            self.lease.cancel()

    async def held(self):
        return await self.lease

    async def release(self):
        self._stop.set()
        await self.task

    async def cancel(self):
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


@asynccontextmanager
async def closed_gate(gate):
    gate.clear()
    yield
    gate.set()


@pytest.fixture
async def world(tmp_path):
    store = MemoryStore()
    versions = []
    for number in range(5):
        artifact = make_artifact(tmp_path / f"upload{number}", BASE, bytes([number]) * 100)
        await publish(store, artifact)
        versions.append(artifact.version)
    world = World(tmp_path / "cache", store, versions)
    async with world.cache:
        yield world
        await world.registry.close()
    assert world.host.violations == []


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
    for holder in holders:
        await holder.release()
    assert world.residents().leased == 0


async def test_a_lease_that_joins_during_the_load_has_the_tier_of_that_load(world):
    async with closed_gate(world.host.open):
        first = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        second = world.hold(world.versions[0])
        await asyncio.sleep(0)
    assert (await second.held()).tier is Tier.STORE
    await first.release()
    await second.release()


async def test_without_an_observer_loads_go_untold(world):
    registry = AdapterRegistry(world.cache, {BASE: world.host}, wait_seconds=60)
    async with registry.lease(world.versions[0]):
        assert world.loads == []
    await registry.close()


async def test_an_unknown_base_model_is_a_key_error(world):
    with pytest.raises(KeyError):
        await world.touch(AdapterVersion(world.versions[0].digest, "other"))


async def test_a_client_that_goes_away_during_the_fetch_does_not_stop_it_for_others(world):
    async with closed_gate(world.store.open):
        gone, staying = world.hold(world.versions[0]), world.hold(world.versions[0])
        await until(lambda: world.store.gets.total() == 2)
        await gone.cancel()
    await staying.held()
    assert world.store.gets.total() == 2
    await staying.release()


async def test_a_client_that_goes_away_during_the_load_does_not_stop_it_for_others(world):
    async with closed_gate(world.host.open):
        gone, staying = world.hold(world.versions[0]), world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        await gone.cancel()
    await staying.held()
    assert len(world.host.loads) == 1
    await staying.release()


async def test_a_load_that_nobody_waits_for_any_more_ends_idle(world):
    async with closed_gate(world.host.open):
        gone = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        await gone.cancel()
    assert (await world.touch(world.versions[0])).tier in (Tier.STORE, Tier.ENGINE)
    assert len(world.host.loads) == 1
    assert world.residents().leased == 0


async def test_a_waiter_that_goes_away_gives_up_its_turn(world):
    holders = [world.hold(version) for version in world.versions[:2]]
    for holder in holders:
        await holder.held()
    gone = world.hold(world.versions[2])
    await until(lambda: world.residents().waiting == 1)
    await gone.cancel()
    assert world.residents().waiting == 0
    next_one = world.hold(world.versions[3])
    await holders[0].release()
    await next_one.held()
    assert [adapter.version for adapter in world.host.loads].count(world.versions[2]) == 0
    await holders[1].release()
    await next_one.release()


async def test_the_least_recently_used_idle_adapter_makes_room(world):
    first, second, third = world.versions[:3]
    await world.touch(first)
    await world.touch(second)
    await world.touch(first)
    await world.touch(third)
    assert {adapter.version for adapter in world.host.known.values()} == {first, third}
    assert [adapter.version for adapter in world.host.unloads] == [second]
    assert world.on_disk(second)


async def test_a_leased_adapter_is_not_unloaded(world):
    leased, idle, new = world.versions[:3]
    async with world.registry.lease(leased):
        await world.touch(idle)
        await world.touch(new)
        assert [adapter.version for adapter in world.host.unloads] == [idle]


async def test_waiters_get_places_in_the_order_they_came(world):
    holders = [world.hold(version) for version in world.versions[:2]]
    for holder in holders:
        await holder.held()
    order = []
    waiters = []
    for number, version in enumerate(world.versions[2:5]):
        waiter = world.hold(version)
        waiter.lease.add_done_callback(lambda _, version=version: order.append(version))
        waiters.append(waiter)
        await until(lambda number=number: world.residents().waiting == number + 1)
    await holders[0].release()
    for waiter in waiters:
        await waiter.held()
        await waiter.release()
    assert order == world.versions[2:5]
    await holders[1].release()


async def test_a_late_client_of_a_waiting_version_shares_its_turn(world):
    holders = [world.hold(version) for version in world.versions[:2]]
    for holder in holders:
        await holder.held()
    first = world.hold(world.versions[2])
    await until(lambda: world.residents().waiting == 1)
    second = world.hold(world.versions[2])
    await until(lambda: world.residents().waiting == 2)
    await holders[0].release()
    assert (await first.held()).adapter is (await second.held()).adapter
    for holder in (first, second, holders[1]):
        await holder.release()


async def test_waiting_ends_in_exceeded_capacity(world):
    registry = world.new_registry(wait_seconds=0.01)
    async with registry.lease(world.versions[0]), registry.lease(world.versions[1]):
        with pytest.raises(AdapterCapacityExceeded):
            async with registry.lease(world.versions[2]):
                pass
        assert registry.stats().residents[BASE].waiting == 0
    async with registry.lease(world.versions[2]):
        pass
    await registry.close()


async def test_who_waits_for_a_place_pins_no_bytes(world):
    holders = [world.hold(version) for version in world.versions[:2]]
    for holder in holders:
        await holder.held()
    waiter = world.hold(world.versions[2])
    await until(lambda: world.residents().waiting == 1)
    assert await world.cache.remove(world.versions[2].digest)
    await holders[0].release()
    await waiter.held()
    await waiter.release()
    await holders[1].release()


async def test_a_version_being_unloaded_is_not_loaded_again_before_it_is_gone(world):
    first, second, third = world.versions[:3]
    await world.touch(first)
    await world.touch(second)
    async with closed_gate(world.host.open):
        new = world.hold(third)
        await until(lambda: world.host.unloads)
        back = world.hold(first)
        await until(lambda: world.residents().waiting == 2)
    await new.held()
    adapter = (await back.held()).adapter
    assert [known.version for known in world.host.known.values()].count(first) == 1
    assert adapter.engine_id in world.host.known
    await new.release()
    await back.release()


async def test_a_refused_load_fails_all_waiters_and_keeps_nothing(world):
    world.host.refused.add(world.versions[0].digest)
    async with closed_gate(world.host.open):
        holders = [world.hold(world.versions[0]) for _ in range(3)]
        await until(lambda: world.host.loads)
    for holder in holders:
        with pytest.raises(AdapterLoadFailed):
            await holder.task
    assert (world.residents().resident, world.loads) == (0, [])
    assert await world.cache.remove(world.versions[0].digest)


async def test_a_refused_load_that_nobody_waits_for_gives_its_place_to_the_next(world):
    holder = world.hold(world.versions[0])
    await holder.held()
    world.host.refused.add(world.versions[1].digest)
    async with closed_gate(world.host.open):
        gone = world.hold(world.versions[1])
        await until(lambda: len(world.host.loads) == 2)
        await gone.cancel()
        waiter = world.hold(world.versions[2])
        await until(lambda: world.residents().waiting == 1)
    await waiter.held()
    await waiter.release()
    await holder.release()


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
    await world.touch(world.versions[0])
    assert [adapter.engine_id for adapter in world.host.unloads] == [world.host.loads[0].engine_id]
    assert list(world.host.known) == [world.host.loads[1].engine_id]


async def test_a_load_that_broke_off_is_gone_before_the_next_begins(world):
    world.host.load_error = EngineDied()
    with pytest.raises(EngineDied):
        await world.touch(world.versions[0])
    world.host.load_error = None
    async with closed_gate(world.host.open):
        holder = world.hold(world.versions[0])
        await until(lambda: world.host.unloads)
        await until(lambda: world.residents().waiting == 1)
        assert len(world.host.loads) == 1
    await holder.held()
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
    assert {adapter.version for adapter in world.host.known.values()} == {second, fourth}


@pytest.mark.parametrize("is_gone", [True, False])
async def test_bad_objects_are_never_loaded_and_leave_no_trace(world, is_gone):
    version = world.versions[0]
    if is_gone:
        await unpublish(world.store, version.digest)
    else:
        world.store.objects[artifact_key(version.digest, WEIGHTS_FILE)] = b"flipped"
    with pytest.raises(ObjectNotFound if is_gone else ObjectCorrupt):
        await world.touch(version)
    assert world.host.loads == []
    assert world.residents().resident == world.residents().waiting == 0
    assert not world.on_disk(version)
    assert world.registry._tasks.find(("fetch", version.digest)) == []


async def test_unknown_digests_evict_nothing(world):
    await world.touch(world.versions[0])
    await world.touch(world.versions[1])
    with pytest.raises(ObjectNotFound):
        await world.touch(AdapterVersion(Digest("0" * 64), BASE))
    assert world.host.unloads == []


async def test_a_store_that_fails_while_a_place_is_held_gives_it_back(world):
    holders = [world.hold(version) for version in world.versions[:2]]
    for holder in holders:
        await holder.held()
    waiter = world.hold(world.versions[2])
    await until(lambda: world.residents().waiting == 1)
    await world.cache.remove(world.versions[2].digest)
    world.store.error = StoreUnavailable("down")
    await holders[0].release()
    with pytest.raises(StoreUnavailable):
        await waiter.task
    assert world.residents().resident == 1
    await holders[1].release()


async def test_retiring_an_idle_version_takes_it_from_engine_and_disk(world):
    await world.touch(world.versions[0])
    await world.registry.retire(world.versions[0])
    assert (world.host.known, world.residents().resident) == ({}, 0)
    assert not world.on_disk(world.versions[0])


async def test_retiring_an_unknown_version_is_quiet_and_repeatable(world):
    await world.registry.retire(world.versions[0])
    await world.registry.retire(world.versions[0])
    with pytest.raises(AdapterRetired):
        await world.touch(world.versions[0])
    assert world.store.gets.total() == 0


async def test_a_running_lease_outlives_the_retirement(world):
    holder = world.hold(world.versions[0])
    lease = await holder.held()
    retiring = asyncio.create_task(world.registry.retire(world.versions[0]))
    await asyncio.sleep(0)
    with pytest.raises(AdapterRetired):
        await world.touch(world.versions[0])
    assert lease.adapter.engine_id in world.host.known
    assert world.on_disk(world.versions[0])
    await holder.release()
    await retiring
    assert world.host.known == {}
    assert not world.on_disk(world.versions[0])


async def test_two_retirements_end_together_and_one_may_be_cancelled(world):
    holder = world.hold(world.versions[0])
    await holder.held()
    retirements = [asyncio.create_task(world.registry.retire(world.versions[0])) for _ in "ab"]
    await asyncio.sleep(0)
    retirements[0].cancel()
    await holder.release()
    await retirements[1]
    assert not world.on_disk(world.versions[0])


async def test_retiring_refuses_those_who_wait_for_a_place(world):
    holders = [world.hold(version) for version in world.versions[:2]]
    for holder in holders:
        await holder.held()
    waiter = world.hold(world.versions[2])
    await until(lambda: world.residents().waiting == 1)
    await world.registry.retire(world.versions[2])
    with pytest.raises(AdapterRetired):
        await waiter.task
    assert not world.on_disk(world.versions[2])
    for holder in holders:
        await holder.release()


async def test_retiring_during_the_fetch_keeps_nothing(world):
    async with closed_gate(world.store.open):
        waiter = world.hold(world.versions[0])
        await until(lambda: world.store.gets.total() == 2)
        retiring = asyncio.create_task(world.registry.retire(world.versions[0]))
        await asyncio.sleep(0)
    await retiring
    with pytest.raises(AdapterRetired):
        await waiter.task
    assert world.host.loads == []
    assert not world.on_disk(world.versions[0])


@pytest.mark.parametrize("is_refused", [True, False])
async def test_retiring_during_the_load_unloads_after_it(world, is_refused):
    if is_refused:
        world.host.refused.add(world.versions[0].digest)
    async with closed_gate(world.host.open):
        waiter = world.hold(world.versions[0])
        await until(lambda: world.host.loads)
        retiring = asyncio.create_task(world.registry.retire(world.versions[0]))
        await asyncio.sleep(0)
    await retiring
    with pytest.raises(AdapterRetired):
        await waiter.task
    assert world.host.known == {}
    assert not world.on_disk(world.versions[0])


async def test_a_retirement_that_cannot_unload_says_so_and_may_be_repeated(world):
    await world.touch(world.versions[0])
    world.host.unload_error = EngineDied()
    with pytest.raises(EngineDied):
        await world.registry.retire(world.versions[0])
    assert world.on_disk(world.versions[0])
    world.host.unload_error = None
    await world.registry.retire(world.versions[0])
    assert world.host.known == {}
    assert not world.on_disk(world.versions[0])


async def test_a_reinstated_version_is_served_again_under_a_fresh_id(world):
    first = await world.touch(world.versions[0])
    await world.registry.retire(world.versions[0])
    await world.registry.reinstate(world.versions[0])
    second = await world.touch(world.versions[0])
    assert second.tier is Tier.STORE
    assert second.adapter.engine_id > first.adapter.engine_id


async def test_reinstating_waits_for_the_retirement(world):
    holder = world.hold(world.versions[0])
    await holder.held()
    retiring = asyncio.create_task(world.registry.retire(world.versions[0]))
    await asyncio.sleep(0)
    reinstating = asyncio.create_task(world.registry.reinstate(world.versions[0]))
    await asyncio.sleep(0)
    with pytest.raises(AdapterRetired):
        await world.touch(world.versions[0])
    await holder.release()
    await reinstating
    await retiring
    assert (await world.touch(world.versions[0])).tier is Tier.STORE


async def test_reinstating_after_a_failed_retirement_unloads_first(world):
    await world.touch(world.versions[0])
    world.host.unload_error = EngineDied()
    with pytest.raises(EngineDied):
        await world.registry.retire(world.versions[0])
    world.host.unload_error = None
    await world.registry.reinstate(world.versions[0])
    await world.touch(world.versions[0])
    assert len(world.host.unloads) == 2
    assert list(world.host.known) == [world.host.loads[1].engine_id]


async def test_a_new_engine_knows_nothing_and_loads_anew(world):
    idle = await world.touch(world.versions[0])
    holder = world.hold(world.versions[1])
    await holder.held()
    world.host.known.clear()
    await world.registry.forget(BASE)
    assert world.residents().resident == 0
    again = await world.touch(world.versions[0])
    assert again.adapter.engine_id > idle.adapter.engine_id
    await holder.release()
    assert world.residents().resident == 1


async def test_a_new_engine_ends_loads_and_waits_of_the_old_one(world):
    async with closed_gate(world.host.open):
        loading = [world.hold(version) for version in world.versions[:2]]
        await until(lambda: len(world.host.loads) == 2)
        waiting = world.hold(world.versions[2])
        await until(lambda: world.residents().waiting == 1)
        await world.registry.forget(BASE)
        world.host.known.clear()
    for holder in (*loading, waiting):
        with pytest.raises(AdapterLoadFailed):
            await holder.task
    await world.touch(world.versions[0])


async def test_a_new_engine_ends_unloads_of_the_old_one(world):
    await world.touch(world.versions[0])
    async with closed_gate(world.host.open):
        retiring = asyncio.create_task(world.registry.retire(world.versions[0]))
        await until(lambda: world.host.unloads)
        await world.registry.forget(BASE)
        world.host.known.clear()
    with pytest.raises(AdapterLoadFailed):
        await retiring
    await world.registry.retire(world.versions[0])
    assert not world.on_disk(world.versions[0])


async def test_closing_cancels_the_work_and_unpins_the_cache(world):
    await world.touch(world.versions[0])
    async with closed_gate(world.host.open):
        loading = world.hold(world.versions[1])
        await until(lambda: len(world.host.loads) == 2)
        world.store.open.clear()
        fetching = world.hold(world.versions[2])
        await until(lambda: world.store.gets.total() == 6)
        await world.registry.close()
        world.store.open.set()
    for holder in (loading, fetching):
        with pytest.raises(AdapterCapacityExceeded):
            await holder.task
    assert world.on_disk(world.versions[0])
    assert await world.cache.remove(world.versions[0].digest)
    assert await world.cache.remove(world.versions[1].digest)


async def test_a_closed_registry_gives_no_lease_and_retires_nothing(world):
    await world.registry.close()
    with pytest.raises(AdapterCapacityExceeded):
        await world.touch(world.versions[0])
    with pytest.raises(AdapterCapacityExceeded):
        await world.registry.retire(world.versions[0])


async def test_stats_count_places_and_bytes(world):
    async with world.registry.lease(world.versions[0]):
        await world.touch(world.versions[1])
        stats = world.registry.stats()
    residents = stats.residents[BASE]
    assert (residents.capacity, residents.resident, residents.leased) == (2, 2, 1)
    assert stats.cache_bytes == 2 * 107


async def test_a_thousand_leases_leak_neither_tasks_nor_descriptors(world):
    await asyncio.gather(*(world.touch(version) for version in world.versions))
    tasks, descriptors = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
    for round_ in range(200):
        versions = world.versions[round_ % 5 :] + world.versions[: round_ % 5]
        await asyncio.gather(*(world.touch(version) for version in versions))
    assert len(asyncio.all_tasks()) == tasks
    assert len(os.listdir("/proc/self/fd")) == descriptors
