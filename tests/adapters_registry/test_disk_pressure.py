"""A disk that holds fewer adapters than the engines have places for."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters_registry.artifacts import publish, unpublish
from adapters_registry.cache import DiskCache
from adapters_registry.download import Retries
from adapters_registry.errors import AdapterCapacityExceeded, ObjectNotFound
from adapters_registry.registry import AdapterRegistry
from adapters_registry.testing import RecordingHost, make_artifact, until
from adapters_registry.types import AdapterVersion, Tier
from tests.adapters_registry.still_loop import StillLoop
from tests.adapters_registry.world import (
    BASE,
    SIZE,
    EngineDied,
    World,
    closed,
    open_world,
    release,
)

PLACES, SLOTS, FIT = 4, 2, 2


@pytest.fixture
async def world(tmp_path):
    """A world of four places, two slots, and bytes for two adapters."""
    async with open_world(tmp_path, RecordingHost(PLACES, slots=SLOTS)) as world:
        await world.registry.close()
        world.versions = [replace(version, size_bytes=SIZE) for version in world.versions]
        async with narrow(world, FIT):
            yield world


def narrow(world: World, adapters: int) -> DiskCache:
    """Give the world's registry a disk for so many adapters."""
    world.root = world.root.with_name("narrow")
    once = Retries(attempts=1, pause_seconds=0)
    world.cache = DiskCache(world.root, world.store, max_bytes=adapters * SIZE, retries=once)
    world.registry = world.new_registry()
    return world.cache


async def test_idle_residents_make_room_on_disk_least_recently_used_first(world):
    for version in world.versions[:2]:
        await world.touch(version)
    await world.touch(world.versions[0])
    await world.touch(world.versions[2])
    assert world.known() == {world.versions[0], world.versions[2]}
    assert [adapter.version for adapter in world.host.unloads] == [world.versions[1]]


async def test_every_adapter_has_its_lease_however_many_there_are(world):
    for version in world.versions * 3:
        assert (await world.touch(version)).adapter.version == version
    assert world.cache.used_bytes == FIT * SIZE


async def test_all_at_once_have_their_leases(world):
    leases = await asyncio.gather(*(world.touch(version) for version in world.versions * 8))
    assert {lease.adapter.version for lease in leases} == set(world.versions)


async def test_a_registration_has_room_while_idle_residents_fill_the_disk(world, tmp_path):
    for version in world.versions[:2]:
        await world.touch(version)
    new = make_artifact(tmp_path / "new", BASE, b"x" * 100)
    pin = await world.cache.add(new)
    assert (await world.touch(new.version)).tier is Tier.DISK
    pin.release()


async def test_pinned_adapters_keep_their_bytes(world):
    await world.registry.pin(world.versions[0])
    for version in world.versions[1:]:
        await world.touch(version)
    assert world.versions[0] in world.known()
    world.registry.unpin(world.versions[0])


async def test_what_the_disk_has_no_room_for_is_never_downloaded(world):
    holders = await world.hold_all(*world.versions[:2])
    world.store.gets.clear()
    with pytest.raises(AdapterCapacityExceeded):
        await world.registry.pin(world.versions[2])
    assert world.store.gets.total() == 0
    await release(*holders)
    await world.registry.pin(world.versions[2])
    world.registry.unpin(world.versions[2])


async def test_who_finds_the_disk_leased_is_served_in_its_turn(world):
    first, second = await world.hold_all(*world.versions[:2])
    third = await world.wait_for_turn(world.versions[2])
    await release(first)
    assert (await third.held()).tier is Tier.STORE
    assert world.known() == {world.versions[1], world.versions[2]}
    await release(second, third)


async def test_an_engine_that_cannot_unload_fails_who_needs_the_bytes_and_may_try_again(world):
    for version in world.versions[:2]:
        await world.touch(version)
    world.host.unload_error = EngineDied()
    for _ in range(3):
        with pytest.raises(EngineDied):
            await world.touch(world.versions[2])
    world.host.unload_error = None
    await world.touch(world.versions[2])


async def test_a_load_for_nobody_makes_room_once_it_has_ended(world):
    holder = (await world.hold_all(world.versions[0]))[0]
    with closed(world.host.open):
        gone = world.hold(world.versions[1])
        await until(lambda: len(world.host.loads) == 2)
        await gone.cancel()
        third = world.hold(world.versions[2])
        await until(lambda: world.store.gets.total() == 6)
    await third.held()
    await release(holder, third)


async def test_an_adapter_that_is_used_again_is_not_unloaded_for_room(world):
    """Two are idle and one is asked for again while the room for a third is made."""
    for version in world.versions[:2]:
        await world.touch(version)
    give_up = world.registry._give_up
    holders = []

    async def use_again(digests):
        holders.extend(await world.hold_all(world.versions[0]))
        await give_up(digests)

    world.cache.unpin_with(world.registry._idle, use_again)
    await world.touch(world.versions[2])
    assert world.known() >= {world.versions[0], world.versions[2]}
    await release(*holders)


async def test_idle_residents_of_another_engine_make_room_too(world, tmp_path):
    other = RecordingHost(PLACES, slots=SLOTS)
    registry = AdapterRegistry(world.cache, {BASE: world.host, "other": other}, wait_seconds=60)
    for version in world.versions[:2]:
        async with registry.lease(version):
            pass
    artifact = make_artifact(tmp_path / "other", "other", b"y" * 100, stored_as="other")
    await publish(world.store, artifact, "other")
    async with registry.lease(artifact.version):
        assert len(world.host.known) == 1
    await registry.close()


async def test_the_copy_of_another_registration_that_is_deleted_fails_nobody_else(world):
    version = world.versions[0]
    again = replace(version, stored_as="again")
    artifact = make_artifact(world.root.parent / "again", BASE, bytes(100))
    await publish(world.store, artifact, "again")
    holders = await world.hold_all(*world.versions[1:3])
    deleted, other = [await world.wait_for_turn(each) for each in (version, again)]
    await unpublish(world.store, version.stored_as)
    await release(*holders)
    with pytest.raises(ObjectNotFound):
        await deleted.held()
    assert (await other.held()).tier is Tier.STORE
    await release(other)


async def test_discarding_for_a_base_model_without_engine_removes_the_files(world):
    version = world.versions[0]
    (await world.cache.fetch(version)).release()
    await world.registry.discard(AdapterVersion(version.digest, "gone"))
    assert not world.is_on_disk(version)


def test_turn_and_place_share_one_wait(tmp_path):
    loop = StillLoop()
    opening = open_world(tmp_path, RecordingHost(SLOTS, slots=SLOTS))
    world = loop.run_until_complete(opening.__aenter__())
    first, second = loop.run_until_complete(world.hold_all(*world.versions[:2]))
    third = loop.run_until_complete(world.wait_for_turn(world.versions[2]))
    pass_time(loop, 40)
    world.host.open.clear()
    loop.run_until_complete(first.release())
    pass_time(loop, 19)
    assert (world.residents().waiting, third.task.done()) == (1, False)
    pass_time(loop, 2)
    assert isinstance(third.task.exception(), AdapterCapacityExceeded)
    world.host.open.set()
    loop.run_until_complete(second.release())
    loop.run_until_complete(opening.__aexit__(None, None, None))
    loop.close()


def pass_time(loop: StillLoop, seconds: float) -> None:
    loop.tick(50)
    loop.now += seconds
    loop.tick(50)


@given(
    fit=st.integers(SLOTS, PLACES),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), max_size=40),
)
@settings(max_examples=40, deadline=None)
def test_leases_succeed_while_what_is_in_use_fits(tmp_path_factory, fit, asked):
    """In use are the pinned, and as many leased as the engine has slots."""

    async def run():
        host = RecordingHost(PLACES, slots=SLOTS)
        async with open_world(tmp_path_factory.mktemp("world"), host) as world:
            await world.registry.close()
            async with narrow(world, fit):
                pinned = world.versions[: fit - SLOTS]
                for version in pinned:
                    await world.registry.pin(version)
                await use_all(world, asked)
                assert set(pinned) <= world.known()
                for version in pinned:
                    world.registry.unpin(version)
                await world.registry.close()

    asyncio.run(run())


async def use_all(world, asked):
    async def use(version, ticks):
        async with world.registry.lease(version):
            for _ in range(ticks):
                await asyncio.sleep(0)

    async with asyncio.timeout(20):
        await asyncio.gather(*(use(world.versions[number], ticks) for number, ticks in asked))
