"""What no row names goes; what a row names, or what is on its way to one, stays."""

import os
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, update

from adapters_registry.artifacts import artifact_key
from adapters_registry.store import ObjectStore
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact
from app.adapters import publisher, repository
from app.adapters.ownership import MARK, StoreOwnership
from app.adapters.sweeper import ForeignStore, Sweeper
from app.db.tables import DeploymentRow, FineTuningRow
from app.ids import new_id
from tests.app.adapters.world import World

GRACE = 3600.0


class Swept:
    def __init__(self) -> None:
        self.kinds: list[str] = []

    def swept(self, kind: str, count: int) -> None:
        self.kinds += [kind] * count


@pytest.fixture
def swept() -> Swept:
    return Swept()


def sweeper(world: World, swept: Swept, *, later: float = 0.0) -> Sweeper:
    """Return a sweeper whose clock is so many seconds ahead."""
    return Sweeper(
        world.database.sessions,
        world.store,
        world.cache,
        world.registry,
        swept,
        StoreOwnership(world.database.sessions, world.store, world.room / "work"),
        grace_seconds=GRACE,
        clock=lambda: time.time() + later,
    )


async def sweep_twice(world: World, swept: Swept, *, later: float = 0.0) -> None:
    one = sweeper(world, swept, later=later)
    await one.sweep_store()
    await one.sweep_store()


async def store(world: World, id: str, *files: str) -> None:
    path = world.room / "orphan"
    path.write_bytes(b"bytes")
    for file in files:
        await world.store.put(artifact_key(id, file), path)


def age(world: World) -> None:
    """Make every entry of the disk cache look as if it was used long ago."""
    for path in _entries(world):
        os.utime(path, (0, 0))


def _entries(world: World) -> Iterator[os.PathLike[str]]:
    return (path for path in (world.room / "cache").iterdir() if len(path.name) == 64)


async def remove_row(world: World, model: str) -> None:
    """Do what a deletion on another replica does to this one: only the row goes."""
    row = await world.service.get_model(world.org_id, model)
    async with world.database.sessions.begin() as session:
        assert await repository.remove(session, world.org_id, row.id)


@pytest.mark.parametrize("files", [(WEIGHTS_FILE,), (WEIGHTS_FILE, CONFIG_FILE), (CONFIG_FILE,)])
async def test_what_a_crashed_registration_stored_goes_after_the_grace(
    world: World, swept: Swept, files: tuple[str, ...]
) -> None:
    await store(world, new_id("ft"), *files)

    await sweep_twice(world, swept)
    assert len(await world.artifacts()) == len(files)

    await sweep_twice(world, swept, later=GRACE + 1)
    assert await world.artifacts() == []
    assert swept.kinds == ["artifact"]


async def test_what_a_crashed_deletion_left_in_the_store_goes(world: World, swept: Swept) -> None:
    kept = await world.register(await world.upload(seed=1), "kept")
    await remove_row(world, await world.register(await world.upload(seed=2), "gone"))

    await sweep_twice(world, swept, later=GRACE + 1)

    assert len(await world.artifacts()) == 2
    row = await world.service.get_model(world.org_id, kept)
    assert await world.artifacts() == [
        artifact_key(row.stored_as, file) for file in (CONFIG_FILE, WEIGHTS_FILE)
    ]


@pytest.mark.parametrize("id", ["f" * 64, "notes", "file_01jh6x76wtemjr74t1fh0faj5t"])
async def test_what_is_no_artifact_of_ours_is_left_alone(
    world: World, swept: Swept, id: str
) -> None:
    await store(world, id, WEIGHTS_FILE)

    await sweep_twice(world, swept, later=1e9)

    assert len(await world.artifacts()) == 1


async def test_more_orphans_than_one_query_takes_all_go(world: World, swept: Swept) -> None:
    for _ in range(1001):
        await store(world, new_id("ft"), CONFIG_FILE)

    await sweep_twice(world, swept, later=GRACE + 1)

    assert await world.artifacts() == []
    assert len(swept.kinds) == 1001


async def test_what_another_replica_deleted_leaves_this_one(world: World, swept: Swept) -> None:
    kept = await world.register(await world.upload(seed=1), "kept")
    gone = await world.register(await world.upload(seed=2), "gone")
    await remove_row(world, gone)

    await sweeper(world, swept).sweep_replica()
    assert len(list(_entries(world))) == 2

    age(world)
    await sweeper(world, swept).sweep_replica()
    (entry,) = _entries(world)
    row = await world.service.get_model(world.org_id, kept)
    assert entry.name == row.digest
    assert [version.digest for version in world.registry.residents()] == [row.digest]
    assert swept.kinds == ["replica"]


async def test_a_deleted_version_on_disk_alone_goes_too(world: World, swept: Swept) -> None:
    gone = await world.register(await world.upload())
    version = (await world.resolver.resolve(world.org_id, gone)).version
    await world.registry.forget("base")
    await remove_row(world, gone)
    age(world)

    await sweeper(world, swept).sweep_replica()

    assert version.digest not in [entry.name for entry in _entries(world)]


async def test_a_stream_on_a_deleted_version_holds_up_no_sweep_and_ends_well(
    world: World, swept: Swept
) -> None:
    gone = await world.register(await world.upload())
    version = (await world.resolver.resolve(world.org_id, gone)).version
    async with world.registry.lease(version) as lease:
        await remove_row(world, gone)
        age(world)
        await sweeper(world, swept).sweep_replica()
        assert lease.adapter.path.is_dir()
        assert world.host.known == {lease.adapter.engine_id: lease.adapter}

    await world.registry.discard(version)
    assert world.host.known == {}
    assert list(_entries(world)) == []


async def test_a_clock_that_is_ahead_takes_no_registration_that_is_under_way(
    world: World, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = sweeper(world, swept, later=10 * GRACE)
    stored = publisher.publish

    async def store_and_sweep(store: ObjectStore, artifact: Artifact, stored_as: str) -> None:
        await stored(store, artifact, stored_as)
        await ahead.sweep_store()

    monkeypatch.setattr(publisher, "publish", store_and_sweep)
    await world.register(await world.upload())
    await ahead.sweep_store()

    assert len(await world.artifacts()) == 2
    assert swept.kinds == []


async def test_a_server_with_another_database_removes_nothing(world: World, swept: Swept) -> None:
    await world.register(await world.upload())
    await sweep_twice(world, swept)
    async with world.database.sessions.begin() as session:
        await session.execute(delete(FineTuningRow))
        await session.execute(update(DeploymentRow).values(id=new_id("dep")))

    with pytest.raises(ForeignStore):
        await sweep_twice(world, swept, later=GRACE + 1)

    assert len(await world.artifacts()) == 2


async def test_a_mark_that_is_not_ours_to_read_protects_the_store(
    world: World, swept: Swept
) -> None:
    path = world.room / "mark"
    path.write_bytes(b"\xff" * 100_000)
    await world.store.put(MARK, path)

    with pytest.raises(ForeignStore):
        await sweeper(world, swept).sweep_store()
