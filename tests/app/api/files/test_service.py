"""The life of a file: kept, listed, read, deleted, and never seen by another organisation."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from adapters_registry.directory import DirectoryStore
from adapters_registry.errors import StoreUnavailable
from adapters_registry.store import ObjectWriter
from app.api.files.schemas import FileObject
from app.api.files.service import FilesService
from app.db.engine import Database
from app.errors import ApiError
from app.files.objects import object_key
from app.ids import new_id
from app.pagination import PageRequest
from tests.app.api.files.conftest import LIMITS, SETTINGS
from tests.app.api.files.uploading import HEADERS, keep, multipart
from tests.app.multipart import body, field, part, streamed

ALL = PageRequest(10_000)
Operation = Callable[[FilesService, str, str], Awaitable[object]]
OPERATIONS: list[Operation] = [
    FilesService.get,
    FilesService.delete,
    FilesService.content,
    FilesService.adapter_key,
]


async def keys(store: DirectoryStore) -> list[str]:
    return [info.key async for info in store.list("files/")]


async def content(files: FilesService, org_id: str, file_id: str) -> bytes:
    opened = await files.content(org_id, file_id)
    return b"".join([chunk async for chunk in opened.chunks])


async def refusal(operation: Awaitable[object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await operation
    return caught.value


@pytest.fixture
async def kept(files: FilesService, mine: str) -> FileObject:
    return await keep(files, mine, b'{"a": 1}\n' * 100)


async def test_a_kept_file_is_described_as_groq_does(kept: FileObject) -> None:
    assert kept.id.startswith("file_")
    assert kept.model_dump(exclude={"id"}) == {
        "object": "file",
        "bytes": 900,
        "created_at": 1_700_000_000,
        "filename": "a.jsonl",
        "purpose": "batch",
    }


async def test_a_kept_file_is_found_by_its_id(
    files: FilesService, mine: str, kept: FileObject
) -> None:
    assert await files.get(mine, kept.id) == kept


async def test_the_content_comes_back_byte_for_byte(files: FilesService, mine: str) -> None:
    sent = b"PK\x03\x04" + bytes(range(256)) * 12_000
    kept = await keep(files, mine, sent, "a.zip", purpose="fine_tuning")
    opened = await files.content(mine, kept.id)
    chunks = [chunk async for chunk in opened.chunks]
    assert len(chunks) > 1
    assert (b"".join(chunks), opened.size, opened.filename) == (sent, len(sent), "a.zip")


async def test_a_deleted_file_is_gone_and_so_are_its_bytes(
    files: FilesService, store: DirectoryStore, mine: str, kept: FileObject
) -> None:
    assert (await files.delete(mine, kept.id)).deleted
    assert await keys(store) == []
    for operation in OPERATIONS:
        assert (await refusal(operation(files, mine, kept.id))).status == 404


async def test_of_two_deletions_at_once_one_finds_nothing(
    files: FilesService, mine: str, kept: FileObject
) -> None:
    both = (files.delete(mine, kept.id) for _ in range(2))
    results = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(isinstance(result, ApiError) for result in results) == [False, True]


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_a_foreign_id_is_refused_exactly_as_an_unknown_one(
    files: FilesService, theirs: str, kept: FileObject, operation: Operation
) -> None:
    unknown = new_id("file")
    foreign = await refusal(operation(files, theirs, kept.id))
    absent = await refusal(operation(files, theirs, unknown))
    assert str(foreign.envelope()).replace(kept.id, unknown) == str(absent.envelope())
    assert (foreign.status, foreign.headers) == (absent.status, absent.headers)


async def test_a_foreign_deletion_leaves_the_file(
    files: FilesService, mine: str, theirs: str, kept: FileObject
) -> None:
    await refusal(files.delete(theirs, kept.id))
    assert len(await content(files, mine, kept.id)) == kept.bytes


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "file_id", ["", "file_", "\0", "file_\udc80", "../secret", "file_" + "a" * 10_000, "org_1"]
)
async def test_a_malformed_id_is_unknown(
    files: FilesService, mine: str, operation: Operation, file_id: str
) -> None:
    error = await refusal(operation(files, mine, file_id))
    assert (error.status, error.code) == (404, "not_found")
    assert len(error.message) < 300


async def test_a_list_holds_one_organisation_newest_first(
    files: FilesService, mine: str, theirs: str
) -> None:
    ids = [(await keep(files, mine)).id for _ in range(3)]
    await keep(files, theirs)
    page = await files.list(mine, ALL, None)
    assert [file.id for file in page.data] == ids[::-1]
    assert (page.has_more, page.first_id, page.last_id) == (False, ids[2], ids[0])


async def test_a_list_goes_on_after_its_cursor(files: FilesService, mine: str) -> None:
    ids = [(await keep(files, mine)).id for _ in range(3)]
    first = await files.list(mine, PageRequest(2, order="asc"), None)
    rest = await files.list(mine, PageRequest(2, first.last_id, "asc"), None)
    assert [file.id for file in first.data + rest.data] == ids
    assert (first.has_more, rest.has_more) == (True, False)


async def test_a_list_can_be_of_one_purpose(files: FilesService, mine: str) -> None:
    await keep(files, mine)
    adapter = await keep(files, mine, b"PK", "a", purpose="fine_tuning")
    assert (await files.list(mine, ALL, "fine_tuning")).data == [adapter]
    assert (await files.list(mine, ALL, "batch_output")).data == []


async def test_the_key_of_an_adapter_leads_to_its_bytes(
    files: FilesService, store: DirectoryStore, mine: str
) -> None:
    adapter = await keep(files, mine, b"PK", "a", purpose="fine_tuning")
    key = await files.adapter_key(mine, adapter.id)
    assert b"".join([chunk async for chunk in store.read(key)]) == b"PK"


async def test_another_kind_of_file_is_no_adapter(
    files: FilesService, mine: str, kept: FileObject
) -> None:
    error = await refusal(files.adapter_key(mine, kept.id))
    assert (error.status, error.param) == (400, "input_file_id")


@pytest.mark.parametrize("purpose", ["", "assistants", "\0", "x" * 10_000])
async def test_a_list_of_no_known_purpose_is_refused(
    files: FilesService, mine: str, purpose: str
) -> None:
    error = await refusal(files.list(mine, ALL, purpose))
    assert (error.status, error.param) == (400, "purpose")


async def test_a_foreign_cursor_shows_nothing_of_its_owner(
    files: FilesService, theirs: str, kept: FileObject
) -> None:
    for order in ("asc", "desc"):
        page = await files.list(theirs, PageRequest(2, kept.id, order), None)
        assert page.data == []
        assert not page.has_more


@pytest.mark.parametrize(
    ("purpose", "says"),
    [
        (None, "property 'purpose' is missing"),
        ("", "`batch`, `fine_tuning`"),
        ("fine-tune", "`batch`, `fine_tuning`"),
        ("batch_output", "`batch`, `fine_tuning`"),
    ],
)
async def test_a_purpose_must_be_one_of_those_for_uploads(
    files: FilesService, mine: str, purpose: str | None, says: str
) -> None:
    error = await refusal(keep(files, mine, purpose=purpose))
    assert (error.status, error.param) == (400, "purpose")
    assert says in error.message


@pytest.mark.parametrize(
    ("sent", "filename", "purpose", "status"),
    [
        (b"", "a.jsonl", "batch", 400),
        (b"", "a.zip", "fine_tuning", 400),
        (b"{}", "a.json", "batch", 400),
        (b"{}", "jsonl", "batch", 400),
        (b"P", "a.zip", "fine_tuning", 400),
        (b"\x1f\x8b", "a.zip", "fine_tuning", 400),
        (b"x" * (LIMITS.batch_file_bytes + 1), "a.jsonl", "batch", 413),
    ],
)
async def test_a_file_unfit_for_its_purpose_is_refused_and_not_kept(
    files: FilesService,
    store: DirectoryStore,
    mine: str,
    sent: bytes,
    filename: str,
    purpose: str,
    status: int,
) -> None:
    error = await refusal(keep(files, mine, sent, filename, purpose=purpose))
    assert (error.status, error.param) == (status, "file")
    assert await keys(store) == []
    assert (await files.list(mine, ALL, None)).data == []


async def test_a_batch_file_of_the_largest_size_is_kept(files: FilesService, mine: str) -> None:
    kept = await keep(files, mine, b"x" * LIMITS.batch_file_bytes, "A.JSONL")
    assert kept.bytes == LIMITS.batch_file_bytes


async def test_an_adapter_may_be_larger_than_a_batch_file(files: FilesService, mine: str) -> None:
    kept = await keep(files, mine, b"PK" * LIMITS.batch_file_bytes, "a", purpose="fine_tuning")
    assert kept.bytes > LIMITS.batch_file_bytes


@pytest.mark.parametrize(
    "filename", ["日本語🎉.jsonl", "'; DROP TABLE files; --.jsonl", '"\u202e.jsonl']
)
async def test_a_hostile_filename_round_trips(
    files: FilesService, mine: str, filename: str
) -> None:
    kept = await keep(files, mine, filename=filename)
    assert (await files.get(mine, kept.id)).filename == filename


async def test_bytes_without_a_row_are_taken_back(
    files: FilesService, store: DirectoryStore
) -> None:
    with pytest.raises(IntegrityError):
        await keep(files, new_id("org"))
    assert await keys(store) == []


class BrokenStore(DirectoryStore):
    """A store whose commits or deletions fail, as a lost disk's would."""

    fail_commit = False
    fail_delete = False
    stalled: asyncio.Event | None = None

    @asynccontextmanager
    async def writer(self, key: str) -> AsyncIterator[ObjectWriter]:
        async with super().writer(key) as writer:
            yield BrokenWriter(self, writer)

    async def delete(self, key: str) -> None:
        if self.fail_delete:
            raise StoreUnavailable
        await super().delete(key)


class BrokenWriter:
    def __init__(self, store: BrokenStore, writer: ObjectWriter) -> None:
        self._store = store
        self.write = writer.write
        self._commit = writer.commit

    async def commit(self) -> None:
        if self._store.fail_commit:
            raise StoreUnavailable
        await self._commit()
        if self._store.stalled:
            self._store.stalled.set()
            await asyncio.Event().wait()


@pytest.fixture
def broken(tmp_path: Path) -> BrokenStore:
    return BrokenStore(tmp_path / "store")


@pytest.fixture
def with_broken(database: Database, broken: BrokenStore) -> FilesService:
    return FilesService(database.sessions, broken, LIMITS, SETTINGS)


async def test_a_file_whose_bytes_cannot_be_stored_is_not_listed(
    with_broken: FilesService, broken: BrokenStore, mine: str
) -> None:
    broken.fail_commit = True
    with pytest.raises(StoreUnavailable):
        await keep(with_broken, mine)
    assert (await with_broken.list(mine, ALL, None)).data == []


async def test_an_upload_that_is_cancelled_while_stored_leaves_nothing(
    with_broken: FilesService, broken: BrokenStore, mine: str
) -> None:
    broken.stalled = asyncio.Event()
    task = asyncio.ensure_future(keep(with_broken, mine))
    await broken.stalled.wait()
    assert len(await keys(broken)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await keys(broken) == []


async def test_a_deletion_is_done_even_if_the_store_fails(
    with_broken: FilesService, broken: BrokenStore, mine: str
) -> None:
    kept = await keep(with_broken, mine)
    broken.fail_delete = True
    assert (await with_broken.delete(mine, kept.id)).deleted
    assert (await refusal(with_broken.content(mine, kept.id))).status == 404


async def test_a_file_deleted_between_its_row_and_its_bytes_is_unknown(
    files: FilesService, store: DirectoryStore, mine: str, kept: FileObject
) -> None:
    await store.delete(object_key(kept.id))
    assert (await refusal(files.content(mine, kept.id))).status == 404


async def test_a_reader_that_leaves_half_way_lets_the_store_go(
    database: Database, mine: str, tmp_path: Path
) -> None:
    class Watched(DirectoryStore):
        closed = False

        async def read(
            self, key: str, *, start: int = 0, length: int | None = None, chunk_bytes: int = 1
        ) -> AsyncIterator[bytes]:
            try:
                async for chunk in super().read(key, start=start, length=length, chunk_bytes=1):
                    yield chunk
            finally:
                self.closed = True

    store = Watched(tmp_path / "store")
    files = FilesService(database.sessions, store, LIMITS, SETTINGS)
    kept = await keep(files, mine, b"x" * 100)
    chunks = (await files.content(mine, kept.id)).chunks
    assert await anext(chunks) == b"x"
    await chunks.aclose()  # type: ignore[attr-defined]
    assert store.closed


async def test_a_row_names_its_organisation_and_the_digest_of_its_bytes(
    database: Database, files: FilesService, mine: str, kept: FileObject
) -> None:
    async with database.sessions() as session:
        row = (await session.execute(text("SELECT org_id, sha256 FROM files"))).one()
    assert row.org_id == mine
    assert row.sha256 == hashlib.sha256(b'{"a": 1}\n' * 100).hexdigest()


@pytest.mark.parametrize(
    ("purpose", "content", "code"),
    [
        ("batch", b"x" * (2 << 20), "request_too_large"),
        ("fine_tuning", bytes(2 << 20), "zip_invalid"),
    ],
)
async def test_what_can_be_no_file_of_its_purpose_is_refused_before_it_is_whole(
    files: FilesService, mine: str, purpose: str, content: bytes, code: str
) -> None:
    form = multipart(content, "a.jsonl", purpose)

    async def sent() -> AsyncIterator[bytes]:
        yield form[: len(form) // 2 + (1 << 18)]
        raise AssertionError("read on")

    with pytest.raises(ApiError) as caught:
        async with files.receive(mine, sent(), HEADERS):
            pass
    assert caught.value.code == code


async def test_a_purpose_that_comes_last_is_judged_all_the_same(
    files: FilesService, store: DirectoryStore, mine: str
) -> None:
    file = part('form-data; name="file"; filename="a.jsonl"', b"x" * (2 << 20))
    form = body(file, field("purpose", "batch"))
    with pytest.raises(ApiError) as caught:
        async with files.receive(mine, streamed([form]), HEADERS):
            pass
    assert caught.value.status == 413
    assert await keys(store) == []


async def test_nobody_sees_an_upload_that_was_received_and_not_created(
    files: FilesService, store: DirectoryStore, mine: str, leftovers: Callable[[], list[Path]]
) -> None:
    form = multipart(b"{}", "a.jsonl", "batch")
    async with files.receive(mine, streamed([form]), HEADERS) as upload:
        assert (upload.size, upload.purpose) == (2, "batch")
        assert (await refusal(files.get(mine, upload.id))).status == 404
        assert await keys(store) == []
    assert leftovers() == []
