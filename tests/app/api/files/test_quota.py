"""Refusals before and after an upload: the quota, and files that a batch reads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from adapters_registry.directory import DirectoryStore
from adapters_registry.testing import until
from app.api.files.service import FilesService
from app.db.engine import Database
from app.errors import ApiError
from app.settings import FileSettings, LimitSettings
from tests.app.api.files.conftest import LIMITS, SETTINGS
from tests.app.api.files.test_service import keys, refusal
from tests.app.api.files.uploading import HEADERS, keep
from tests.app.files.world import batch_row

QUOTA = FileSettings(quota_bytes=100)


@pytest.fixture
def files(database: Database, store: DirectoryStore) -> FilesService:
    return FilesService(database.sessions, store, LIMITS, QUOTA)


async def unread() -> AsyncIterator[bytes]:
    raise AssertionError("the body was read")
    yield b""


async def test_a_file_that_just_fits_is_kept(files: FilesService, mine: str) -> None:
    await keep(files, mine, b"x" * 40)
    assert (await keep(files, mine, b"x" * 60)).bytes == 60


async def test_a_file_over_the_quota_is_refused_and_leaves_nothing(
    files: FilesService, store: DirectoryStore, mine: str, leftovers: Callable[[], list[Path]]
) -> None:
    await keep(files, mine, b"x" * 40)
    error = await refusal(keep(files, mine, b"x" * 61))
    assert (error.status, error.code) == (413, "file_quota_exceeded")
    assert error.headers == {"x-should-retry": "false"}
    assert "100 bytes" in error.message
    assert len(await keys(store)) == 1
    assert leftovers() == []


async def test_a_full_quota_is_told_before_the_body_is_read(files: FilesService, mine: str) -> None:
    await keep(files, mine, b"x" * 100)
    with pytest.raises(ApiError) as caught:
        async with files.receive(mine, unread(), HEADERS):
            pass
    assert (caught.value.status, caught.value.code) == (413, "file_quota_exceeded")


async def test_a_create_that_filled_the_quota_may_be_repeated_under_its_key(
    files: FilesService, mine: str
) -> None:
    first = await keep(files, mine, b"x" * 100, key="k")
    assert await keep(files, mine, b"x" * 100, key="k") == first
    error = await refusal(keep(files, mine, b"y", key="other"))
    assert error.code == "file_quota_exceeded"


async def test_a_refused_file_leaves_its_key_free(files: FilesService, mine: str) -> None:
    old = await keep(files, mine, b"x" * 100)
    await refusal(keep(files, mine, b"y", key="k"))
    await files.delete(mine, old.id)
    assert (await keep(files, mine, b"y", key="k")).bytes == 1


async def test_of_many_uploads_at_once_no_more_are_kept_than_fit(
    files: FilesService, store: DirectoryStore, mine: str
) -> None:
    uploads = (keep(files, mine, b"x" * 30) for _ in range(8))
    made = await asyncio.gather(*uploads, return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in made) == 3
    assert len(await keys(store)) == 3


async def test_another_organisation_has_a_quota_of_its_own(
    files: FilesService, mine: str, theirs: str
) -> None:
    await keep(files, mine, b"x" * 100)
    assert (await keep(files, theirs, b"x" * 100)).bytes == 100


async def test_a_file_that_a_batch_reads_is_not_deleted(
    files: FilesService, database: Database, store: DirectoryStore, mine: str
) -> None:
    file = await keep(files, mine)
    batch = batch_row(mine, file.id, "in_progress")
    async with database.sessions.begin() as session:
        session.add(batch)
        batch_id = batch.id
    error = await refusal(files.delete(mine, file.id))
    assert (error.status, error.code) == (409, "file_in_use")
    assert batch_id in error.message
    assert error.headers == {"x-should-retry": "false"}
    assert len(await keys(store)) == 1
    async with database.sessions.begin() as session:
        await session.execute(text("UPDATE batches SET status = 'completed'"))
    assert (await files.delete(mine, file.id)).deleted


async def test_uploads_of_one_organisation_hold_no_more_than_its_share_of_memory(
    database: Database, store: DirectoryStore, mine: str, theirs: str
) -> None:
    files = FilesService(database.sessions, store, LimitSettings(), SETTINGS)
    begun: list[str] = []

    async def endless(org_id: str) -> AsyncIterator[bytes]:
        begun.append(org_id)
        await asyncio.Event().wait()
        yield b""

    async def upload(org_id: str) -> None:
        async with files.receive(org_id, endless(org_id), HEADERS):
            pass

    tasks = [asyncio.create_task(upload(mine)) for _ in range(20)]
    tasks.append(asyncio.create_task(upload(theirs)))
    await until(lambda: theirs in begun)
    assert begun.count(mine) == 8
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_the_answers_reach_clients_as_errors(http: httpx.AsyncClient) -> None:
    form = {"file": ("a.jsonl", b"x" * 101)}
    answer = await http.post("/files", data={"purpose": "batch"}, files=form)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "file_quota_exceeded"
    assert answer.headers["x-should-retry"] == "false"
