"""What two sweeps have found without a row goes, in any number; nothing else does."""

import asyncio
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from adapters_registry.errors import StoreUnavailable
from adapters_registry.store import ObjectStore
from adapters_registry.testing import MemoryStore
from adapters_registry.types import ObjectInfo
from app.db.engine import Database
from app.db.tables import DeploymentRow
from app.ids import new_id
from app.storage import orphans
from app.storage.orphans import ForeignStore, ObjectKind, OrphanSweep
from app.storage.ownership import MARK
from tests.app.storage.world import GRACE, Swept, orphan_sweep

OLD = GRACE + 1


class Rows:
    """Stands for a table: the ids that have a row, and the largest number asked for at once."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.most = 0

    async def needed(self, session: AsyncSession, ids: Collection[str]) -> set[str]:
        self.most = max(self.most, len(ids))
        return self.ids & set(ids)


class TidyStore(MemoryStore):
    """Remembers when it was tidied, and of what age; objects may go while it lists them."""

    def __init__(self) -> None:
        super().__init__()
        self.tidied: list[float] = []

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        await self.check()
        for key in sorted(key for key in self.objects if key.startswith(prefix)):
            yield ObjectInfo(key, 0, "")

    async def tidy(self, older_than_seconds: float) -> None:
        await self.check()
        self.tidied.append(older_than_seconds)


class World:
    """One kind of objects, each `things/<id>/a` or more, in a store of its own."""

    def __init__(self, database: Database, room: Path) -> None:
        self.database = database
        self.room = room
        self.store = TidyStore()
        self.swept = Swept()
        self.rows = Rows()
        self.stubborn: set[str] = set()
        self.kind = ObjectKind("thing", "things/", "file", self.rows.needed, self._remove)

    async def _remove(self, store: ObjectStore, id: str) -> None:
        if id in self.stubborn:
            raise StoreUnavailable("denied")
        for name in ("a", "b", "b/c", "b/d"):
            await store.delete(f"things/{id}/{name}")

    def add(self, id: str, *names: str) -> str:
        for name in names or ("a",):
            self.store.objects[f"things/{id}/{name}"] = b""
        return id

    def ids(self) -> set[str]:
        keys = (key.split("/") for key in self.store.objects if key != MARK)
        return {parts[1] for parts in keys}

    def sweep(self, *, later: float = OLD) -> OrphanSweep:
        return orphan_sweep(
            self.database, self.store, [self.kind], self.swept, self.room, later=later
        )


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    return World(database, tmp_path)


async def twice(sweep: OrphanSweep) -> None:
    await sweep.sweep()
    await sweep.sweep()


async def test_an_orphan_goes_at_the_second_sweep_with_all_its_objects(world: World) -> None:
    world.add(new_id("file"), "a", "b/c", "b/d")
    sweep = world.sweep()

    await sweep.sweep()
    assert len(world.ids()) == 1

    await sweep.sweep()
    assert world.ids() == set()
    assert world.swept.kinds == ["thing"]


async def test_what_is_younger_than_the_grace_stays(world: World) -> None:
    world.add(new_id("file"))

    await twice(world.sweep(later=GRACE - 1))

    assert len(world.ids()) == 1


async def test_what_has_a_row_by_the_second_sweep_stays(world: World) -> None:
    id = world.add(new_id("file"))
    sweep = world.sweep()

    await sweep.sweep()
    world.rows.ids.add(id)
    await twice(sweep)

    assert world.ids() == {id}


async def test_an_interrupted_needlessness_starts_again(world: World) -> None:
    id = world.add(new_id("file"))
    sweep = world.sweep()
    await sweep.sweep()
    world.rows.ids.add(id)
    await sweep.sweep()
    world.rows.ids.clear()

    await sweep.sweep()
    assert world.ids() == {id}
    await sweep.sweep()
    assert world.ids() == set()


@pytest.mark.parametrize("id", ["f" * 64, "notes", "ft_01jh6x76wtemjr74t1fh0faj5t", "file_"])
async def test_what_is_no_id_of_the_kind_is_left_alone(world: World, id: str) -> None:
    world.add(id)

    await twice(world.sweep(later=1e9))

    assert world.ids() == {id}


async def test_tens_of_thousands_go_in_pages(world: World) -> None:
    world.rows.ids = {world.add(new_id("file")) for _ in range(750)}
    for _ in range(10_000):
        world.add(new_id("file"), "a", "b")

    await twice(world.sweep())

    assert world.ids() == world.rows.ids
    assert len(world.swept.kinds) == 10_000
    assert world.rows.most == orphans.MAX_IDS


async def test_more_orphans_than_are_remembered_go_sweep_by_sweep(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "MAX_SUSPECTS", 10)
    for _ in range(25):
        world.add(new_id("file"))
    sweep = world.sweep()

    left = []
    for _ in range(4):
        await sweep.sweep()
        left.append(len(world.ids()))

    assert left == [25, 15, 5, 0]


async def test_an_object_that_cannot_be_removed_protects_no_other(world: World) -> None:
    first, *_, last = (world.add(new_id("file")) for _ in range(5))
    world.stubborn = {first, last}
    sweep = world.sweep()

    await sweep.sweep()
    with pytest.raises(StoreUnavailable):
        await sweep.sweep()
    assert world.ids() == {first, last}
    assert world.store.tidied == [GRACE, GRACE]

    world.stubborn.clear()
    await sweep.sweep()
    assert world.ids() == set()


async def test_a_store_that_is_down_is_let_be_after_some_tries(world: World) -> None:
    world.stubborn = {world.add(new_id("file")) for _ in range(orphans.MAX_FAILURES)}
    last = world.add(new_id("file"))
    sweep = world.sweep()

    await sweep.sweep()
    with pytest.raises(StoreUnavailable):
        await sweep.sweep()

    assert last in world.ids()


async def test_a_failed_sweep_forgets_no_suspect(world: World) -> None:
    world.add(new_id("file"))
    sweep = world.sweep()
    await sweep.sweep()

    world.store.error = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        await sweep.sweep()
    world.store.error = None
    await sweep.sweep()

    assert world.ids() == set()


async def test_what_puts_have_left_unfinished_is_tidied_once_a_sweep(world: World) -> None:
    await twice(world.sweep())

    assert world.store.tidied == [GRACE, GRACE]


async def test_the_store_of_another_database_is_never_touched(world: World) -> None:
    id = world.add(new_id("file"))
    sweep = world.sweep()
    await sweep.sweep()
    async with world.database.sessions.begin() as session:
        await session.execute(update(DeploymentRow).values(id=new_id("dep")))
    touched = dict(world.store.objects)

    for each in (sweep, world.sweep(), world.sweep()):
        with pytest.raises(ForeignStore):
            await each.sweep()

    assert world.ids() == {id}
    assert world.store.objects == touched
    assert world.store.tidied == [GRACE]


async def test_a_mark_that_is_not_ours_to_read_protects_the_store(world: World) -> None:
    world.store.objects[MARK] = b"\xff" * 100_000

    with pytest.raises(ForeignStore):
        await world.sweep().sweep()


async def test_sweeps_of_many_replicas_at_once_get_along(world: World) -> None:
    world.rows.ids = {world.add(new_id("file")) for _ in range(20)}
    for _ in range(200):
        world.add(new_id("file"), "a", "b")

    await asyncio.gather(*(twice(world.sweep()) for _ in range(5)))

    assert world.ids() == world.rows.ids
