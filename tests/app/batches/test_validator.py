"""The validate step, over a store that can fail and a database of each kind."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from adapters_registry.directory import DirectoryStore
from adapters_registry.errors import ObjectCorrupt, StoreUnavailable
from app.batches import repository
from app.batches.lines import CHAT, read_line
from app.batches.objects import input_key
from app.batches.repository import NewBatch
from app.batches.types import Step
from app.batches.validator import Validator
from app.db.engine import Database
from app.db.tables import BatchChunkRow, BatchRow
from app.files.objects import object_key
from app.ids import new_id
from app.settings import BatchSettings
from tests.app.batches.lines import adapter, body, file_of, written
from tests.app.batches.rows import add_file, set_batch
from tests.app.idempotency.faults import cancel_at
from tests.fixtures.databases import add_organization

GOOD = file_of(*(written(f"{n}", body=body(["base", adapter("a")][n % 2])) for n in range(10)))
SETTINGS = BatchSettings(max_lines=20, chunk_lines=3)
Act = Callable[[], Awaitable[None]]


class FaultyStore(DirectoryStore):
    """A store that does something else where it is told to, before or after the work."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.before_get: Act | None = None
        self.after_put: Act | None = None

    async def get(self, key: str, destination: Path) -> None:
        if self.before_get is not None:
            await self.before_get()
        await super().get(key, destination)

    async def put(self, key: str, source: Path) -> None:
        await super().put(key, source)
        if self.after_put is not None:
            await self.after_put()


def raising(error: Exception) -> Act:
    async def act() -> None:
        raise error

    return act


class World:
    """One organisation, its batches, and what validates them."""

    def __init__(self, database: Database, store: FaultyStore, org_id: str, work: Path) -> None:
        self.database, self.store, self.org_id, self.work = database, store, org_id, work
        work.mkdir()
        self.validator = self.replica({"base"})

    def replica(self, served: set[str]) -> Validator:
        return Validator(self.database.sessions, self.store, self.work, SETTINGS, served)

    async def batch(self, content: bytes = GOOD) -> Step:
        """Make a batch of a file, and take its step."""
        sha256, source = hashlib.sha256(content).hexdigest(), self.work / "upload"
        file = await add_file(self.database, self.org_id, bytes=len(content), sha256=sha256)
        source.write_bytes(content)
        await self.store.put(object_key(file), source)
        source.unlink()
        new = NewBatch(new_id("batch"), self.org_id, file, CHAT, "24h", 86_400, None, "key_1")
        async with self.database.sessions.begin() as session:
            await repository.add(session, new)
        step = Step(new.id, self.org_id, "token")
        await set_batch(self.database, new.id, token=step.token, leased_until=2**40, attempts=1)
        return step

    async def row(self, step: Step) -> BatchRow:
        async with self.database.sessions() as session:
            return (await session.scalars(select(BatchRow).filter_by(id=step.batch_id))).one()

    async def chunks(self, step: Step) -> list[BatchChunkRow]:
        query = select(BatchChunkRow).filter_by(batch_id=step.batch_id)
        async with self.database.sessions() as session:
            return list(await session.scalars(query.order_by(BatchChunkRow.number)))

    async def stored(self, step: Step) -> bytes:
        return b"".join([piece async for piece in self.store.read(input_key(step.batch_id))])

    async def errors(self, step: Step) -> list[dict[str, Any]]:
        errors: list[dict[str, Any]] = json.loads((await self.row(step)).errors or "[]")
        return errors

    def left(self) -> list[Path]:
        return list(self.work.iterdir())


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> World:
    org_id = await add_organization(database, "mine")
    return World(database, FaultyStore(tmp_path / "store"), org_id, tmp_path / "work")


async def test_a_good_file_becomes_chunks_that_hold_every_line(world: World) -> None:
    step = await world.batch()
    await world.validator.run(step)

    row = await world.row(step)
    assert (row.status, row.total, row.errors) == ("in_progress", 10, None)
    stored, numbers = await world.stored(step), []
    for chunk in await world.chunks(step):
        text = stored[chunk.start : chunk.start + chunk.length]
        lines = [read_line(line) for line in text.splitlines(keepends=True)]
        assert len(lines) == chunk.lines <= 3
        assert {line.body["model"] for line in lines} == {chunk.adapter or chunk.model}
        numbers += [line.number for line in lines]
    assert sorted(numbers) == list(range(1, 11))
    assert world.left() == []


async def test_a_file_with_a_bad_line_fails_with_its_errors(world: World) -> None:
    step = await world.batch(GOOD + b"{\n" + written("0"))
    await world.validator.run(step)

    row = await world.row(step)
    assert (row.status, row.total) == ("failed", 0)
    found = [(error["line"], error["code"], error["param"]) for error in await world.errors(step)]
    assert found == [(11, "invalid_json_line", None), (12, "duplicate_custom_id", "custom_id")]
    assert await world.chunks(step) == []
    assert world.left() == []


async def test_what_is_not_served_here_gets_chunks_of_no_model(world: World) -> None:
    step = await world.batch()
    await world.replica(set()).run(step)
    assert {(chunk.model, chunk.adapter) for chunk in await world.chunks(step)} == {("", "")}


@pytest.mark.parametrize("what", ["row", "object"])
async def test_a_file_that_is_gone_fails_the_batch(world: World, what: str) -> None:
    step = await world.batch()
    file = (await world.row(step)).input_file_id
    if what == "object":
        await world.store.delete(object_key(file))
    else:
        await set_batch(world.database, step.batch_id, input_file_id=new_id("file"))
    await world.validator.run(step)

    assert (await world.row(step)).status == "failed"
    [error] = await world.errors(step)
    assert (error["code"], error["line"]) == ("invalid_request", None)
    assert "not found" in error["message"]


@pytest.mark.parametrize("error", [StoreUnavailable(), ObjectCorrupt("x"), OSError(28, "full")])
async def test_trouble_that_passes_decides_nothing(world: World, error: Exception) -> None:
    step = await world.batch()
    for at in ("before_get", "after_put"):
        setattr(world.store, at, raising(error))
        with pytest.raises((StoreUnavailable, ObjectCorrupt)):
            await world.validator.run(step)
        setattr(world.store, at, None)
        assert (await world.row(step)).status == "validating"
        assert world.left() == []
    await world.validator.run(step)
    assert (await world.row(step)).status == "in_progress"


@pytest.mark.parametrize("other", [GOOD[:-1], GOOD[:100], b"", GOOD.replace(b"Hi", b"Ho")])
async def test_a_store_that_gives_other_bytes_is_not_believed(world: World, other: bytes) -> None:
    step = await world.batch()
    key = object_key((await world.row(step)).input_file_id)
    (world.work / "other").write_bytes(other)
    await world.store.put(key, world.work / "other")
    with pytest.raises(StoreUnavailable):
        await world.validator.run(step)
    assert (await world.row(step)).status == "validating"


@pytest.mark.parametrize("change", [{"token": "another"}, {"status": "cancelling"}])
async def test_a_step_that_is_lost_changes_nothing(world: World, change: dict[str, str]) -> None:
    async def lose() -> None:
        await set_batch(world.database, step.batch_id, **change)

    for at in ("before_get", "after_put"):
        step = await world.batch()
        setattr(world.store, at, lose)
        await world.validator.run(step)
        setattr(world.store, at, None)
        assert (await world.row(step)).status == change.get("status", "validating")
        assert await world.chunks(step) == []
    await world.validator.run(step)
    assert await world.chunks(step) == []


async def test_done_by_two_at_once_it_has_one_outcome_that_fits_the_stored_bytes(
    world: World,
) -> None:
    step = await world.batch()
    await asyncio.gather(world.validator.run(step), world.replica({"base", "more"}).run(step))
    chunks = await world.chunks(step)
    assert sum(chunk.length for chunk in chunks) == len(await world.stored(step))
    assert sum(chunk.lines for chunk in chunks) == 10
    assert world.left() == []


async def test_cancelled_at_any_step_it_can_be_done_again(world: World) -> None:
    at, has_come = 0, True
    while has_come:
        at += 1
        step = await world.batch()
        has_come = await cancel_at(at, world.validator.run(step))
        assert world.left() == [], at
        await world.validator.run(step)
        assert (await world.row(step)).status == "in_progress", at
        assert sum(chunk.lines for chunk in await world.chunks(step)) == 10
    assert at > 5
