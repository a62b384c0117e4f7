"""Uploads under an idempotency key: one file, stored once, whatever happens to the first try."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from adapters_registry.directory import DirectoryStore
from adapters_registry.errors import StoreUnavailable
from adapters_registry.store import ObjectWriter
from app.api.files.schemas import FileObject
from app.api.files.service import FilesService
from app.db.engine import Database
from app.errors import ApiError
from tests.app.api.files.conftest import LIMITS, SETTINGS
from tests.app.api.files.test_service import ALL, content, keys, refusal
from tests.app.api.files.uploading import keep
from tests.app.idempotency.faults import cancel_at, cancel_in_statement, dead_from

Create = Callable[[str], asyncio.Future[FileObject]]


class Replica(FilesService):
    """The files service of one process, over a store that counts and can fail."""

    def __init__(self, database: Database, store: "CountingStore") -> None:
        super().__init__(database.sessions, store, LIMITS, SETTINGS)
        self.database, self.store = database, store

    async def keep(self, org_id: str, key: str | None = "key", body: bytes = b"{}") -> FileObject:
        return await keep(self, org_id, body, key=key)

    async def ids(self, org_id: str) -> list[str]:
        return [file.id for file in (await self.list(org_id, ALL, None)).data]


class CountingStore(DirectoryStore):
    commits = 0
    is_broken = False

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        async with super().writer(key) as writer:
            yield CountingWriter(self, writer)


class CountingWriter:
    def __init__(self, store: CountingStore, writer: ObjectWriter) -> None:
        self._store = store
        self.write = writer.write
        self._commit = writer.commit

    async def commit(self) -> None:
        self._store.commits += 1
        if self._store.is_broken:
            raise StoreUnavailable
        await self._commit()


@pytest.fixture
def counting(tmp_path: Path) -> CountingStore:
    return CountingStore(tmp_path / "store")


@pytest.fixture
def one(database: Database, counting: CountingStore) -> Replica:
    return Replica(database, counting)


@pytest.fixture
async def two(database_url: str, counting: CountingStore) -> AsyncIterator[Replica]:
    database = Database(database_url)
    yield Replica(database, counting)
    await database.close()


async def test_fifty_uploads_on_two_replicas_are_one_file_stored_once(
    one: Replica, two: Replica, counting: CountingStore, mine: str
) -> None:
    files = await asyncio.gather(*(side.keep(mine) for side in [one, two] * 25))
    assert files == [files[0]] * 50
    assert await one.ids(mine) == [files[0].id]
    assert counting.commits == 1


@pytest.mark.parametrize(
    ("body", "filename", "purpose"),
    [
        (b"[]", "a.jsonl", "batch"),
        (b"PK", "b.jsonl", "batch"),
        (b"PK", "a.jsonl", "fine_tuning"),
    ],
)
async def test_another_body_name_or_purpose_is_another_request(
    one: Replica, counting: CountingStore, mine: str, body: bytes, filename: str, purpose: str
) -> None:
    await one.keep(mine, body=b"PK")
    error = await refusal(keep(one, mine, body, filename, key="key", purpose=purpose))
    assert (error.status, error.code) == (409, "idempotency_key_reused")
    assert counting.commits == 1


async def test_a_store_that_fails_frees_the_key(
    one: Replica, counting: CountingStore, mine: str
) -> None:
    counting.is_broken = True
    with pytest.raises(StoreUnavailable):
        await one.keep(mine)
    counting.is_broken = False
    assert await one.ids(mine) == []
    assert (await one.keep(mine, body=b"[]")).bytes == 2


async def test_an_upload_that_is_refused_uses_no_key(one: Replica, mine: str) -> None:
    assert (await refusal(one.keep(mine, body=b""))).status == 400
    assert (await one.keep(mine)).bytes == 2


async def test_a_deleted_file_is_not_made_again(one: Replica, mine: str) -> None:
    await one.delete(mine, (await one.keep(mine)).id)
    with pytest.raises(ApiError) as caught:
        await one.keep(mine)
    assert caught.value.code == "idempotency_key_object_deleted"


async def cancelled(side: Replica, org_id: str, key: str | None, step: int, at: str) -> bool:
    """Cancel an upload at a step; False if it has no such step."""
    upload = side.keep(org_id, key)
    if at == "statement":
        return await cancel_in_statement(step, side.database, upload)
    return await cancel_at(step, upload)


@pytest.mark.parametrize("at", ["suspension", "statement"])
async def test_a_cancellation_at_any_step_leaves_one_whole_file_after_the_retry(
    one: Replica, counting: CountingStore, mine: str, at: str
) -> None:
    step, has_come = 0, True
    while has_come:
        step += 1
        key = f"key {step}"
        has_come = await cancelled(one, mine, key, step, at)
        made = await one.ids(mine)
        file = await one.keep(mine, key)
        assert await one.ids(mine) == [file.id], step
        assert made in ([], [file.id])
        assert await content(one, mine, file.id) == b"{}"
        await one.delete(mine, file.id)
        assert await keys(counting) == []
    assert step > 4


@pytest.mark.parametrize("at", ["suspension", "statement"])
async def test_a_cancellation_at_any_step_leaves_nothing_of_an_upload_without_key(
    one: Replica, counting: CountingStore, mine: str, at: str
) -> None:
    step = 1
    while await cancelled(one, mine, None, step, at):
        assert await one.ids(mine) == [], step
        assert await keys(counting) == [], step
        step += 1
    assert step > 2


async def test_a_crash_at_any_statement_leaves_one_whole_file_after_the_retry(
    one: Replica, two: Replica, mine: str
) -> None:
    step, has_come = 0, True
    while has_come:
        step += 1
        key = f"key {step}"
        with dead_from(step, one.database) as taken:
            await asyncio.gather(one.keep(mine, key), return_exceptions=True)
        has_come = len(taken) >= step
        async with two.database.sessions.begin() as session:
            await session.execute(text("UPDATE idempotency_keys SET claimed_until = 1"))
        file = await two.keep(mine, key)
        assert await two.ids(mine) == [file.id], step
        assert await content(two, mine, file.id) == b"{}"
        await two.delete(mine, file.id)
    assert step > 5
