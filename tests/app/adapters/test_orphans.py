"""Artifacts that no row names go; what a row names, or what is on its way to one, stays."""

import time

import pytest
from sqlalchemy import delete, update

from adapters_registry.artifacts import artifact_key
from adapters_registry.store import ObjectStore
from adapters_registry.types import CONFIG_FILE, WEIGHTS_FILE, Artifact
from app.adapters import publisher
from app.adapters.orphans import ARTIFACT_OBJECTS
from app.db.tables import DeploymentRow, FineTuningRow
from app.ids import new_id
from app.storage.orphans import ForeignStore, OrphanSweep
from app.storage.ownership import StoreOwnership
from tests.app.adapters.world import World, remove_row
from tests.app.storage.world import Swept

GRACE = 3600.0


@pytest.fixture
def swept() -> Swept:
    return Swept()


def sweeper(world: World, swept: Swept, *, later: float = 0.0) -> OrphanSweep:
    """Return a sweep whose clock is so many seconds ahead."""
    sessions = world.database.sessions
    return OrphanSweep(
        sessions,
        world.store,
        StoreOwnership(sessions, world.store, world.room / "work"),
        swept,
        [ARTIFACT_OBJECTS],
        grace_seconds=GRACE,
        clock=lambda: time.time() + later,
    )


async def sweep_twice(world: World, swept: Swept, *, later: float = 0.0) -> None:
    one = sweeper(world, swept, later=later)
    await one.sweep()
    await one.sweep()


async def store(world: World, id: str, *files: str) -> None:
    path = world.room / "orphan"
    path.write_bytes(b"bytes")
    for file in files:
        await world.store.put(artifact_key(id, file), path)


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


async def test_a_clock_that_is_ahead_takes_no_registration_that_is_under_way(
    world: World, swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = sweeper(world, swept, later=10 * GRACE)
    stored = publisher.publish

    async def store_and_sweep(store: ObjectStore, artifact: Artifact, stored_as: str) -> None:
        await stored(store, artifact, stored_as)
        await ahead.sweep()

    monkeypatch.setattr(publisher, "publish", store_and_sweep)
    await world.register(await world.upload())
    await ahead.sweep()

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
