"""Files of an organisation: a row that says what it is, an object that holds its bytes.

The object is written before its row and deleted after it, so a row never lacks its bytes. An id of
another organisation is an unknown id.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import ObjectNotFound, StoreError
from adapters_registry.store import ObjectStore
from app.api.files.byte_range import ByteRange, requested
from app.api.files.purposes import check_so_far, checked_purpose, wrong_purpose
from app.api.files.schemas import PURPOSES, FileDeleted, FileObject
from app.api.files.upload import HashedObject, Upload
from app.db.tables import FileRow
from app.errors import NO_RETRY, ApiError, invalid_request, not_found, quota_exceeded
from app.files import repository
from app.files.errors import FileInUse, QuotaExceeded
from app.files.objects import object_key
from app.idempotency.claim import Claim
from app.idempotency.creates import KeyedCreates
from app.idempotency.request import CreateRequest
from app.ids import new_id
from app.pagination import Page, PageRequest
from app.settings import FileSettings, LimitSettings
from app.shares import SHARE, Shares
from app.uploads import UploadForm, receive_form

FILE_ID = re.compile(r"file_[0-9a-z]{26}")

UPLOAD_BYTES = 40 << 20
"""Most that one upload holds in memory; a shorter one holds no more than its length."""
UPLOADS = 32
"""How many such uploads there may be at once; an organisation has a share of them."""
UPLOAD_WAIT_SECONDS = 30.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file of `size` bytes, to be read once: all of it, or only its `part`."""

    filename: str
    size: int
    part: ByteRange | None
    chunks: AsyncIterator[bytes]


class FilesService:
    """What may be done with files; every method takes the caller's organisation."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        limits: LimitSettings,
        settings: FileSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._creates = KeyedCreates(sessions)
        self._quota_bytes = settings.quota_bytes
        self._clock = clock
        self._batch_bytes = limits.batch_file_bytes
        check = partial(check_so_far, batch_bytes=limits.batch_file_bytes)
        self._form = UploadForm(limits.upload_bytes, frozenset({"purpose"}), check=check)
        self._memory = Shares(
            UPLOADS * UPLOAD_BYTES,
            UPLOADS * UPLOAD_BYTES // SHARE,
            wait_seconds=UPLOAD_WAIT_SECONDS,
            refusal="Too many files are being uploaded at present.",
        )

    @asynccontextmanager
    async def receive(
        self,
        org_id: str,
        stream: AsyncIterator[bytes],
        headers: Mapping[str, str],
        *,
        key: str | None = None,
    ) -> AsyncIterator[Upload]:
        """Stream the file of a multipart body into the store.

        What `create` does not keep is gone when the block ends. **Raises:** ApiError 400, 413 or
        503, StoreUnavailable, and what `stream` raises.
        """
        if key is None:  # else it may be the repetition of what has filled the quota
            await self._check_room(org_id)
        id = new_id("file")
        async with (
            self._memory.hold(org_id, _memory_of(headers)),
            self._store.writer(object_key(id)) as writer,
        ):
            sink = HashedObject(writer)
            form = await receive_form(stream, headers, self._form, sink)
            purpose = checked_purpose(form, batch_bytes=self._batch_bytes)
            yield Upload(id, form.filename, purpose, form.size, await sink.sha256(), writer)

    async def create(self, org_id: str, upload: Upload, *, key: str | None = None) -> FileObject:
        """Keep an uploaded file, once for an idempotency key.

        **Raises:** ApiError 409 or 413, StoreUnavailable.
        """
        row = FileRow(
            id=upload.id,
            org_id=org_id,
            filename=upload.filename,
            purpose=upload.purpose,
            bytes=upload.size,
            sha256=upload.sha256,
            created_at=int(self._clock()),
        )
        content = (upload.purpose, upload.filename, upload.sha256)
        return await self._creates.once(
            CreateRequest.of(org_id, key, "POST /files", *content),
            partial(self._keep, row, upload),
            partial(self._find, org_id),
        )

    async def _check_room(self, org_id: str) -> None:
        async with self._sessions() as session:
            used = await repository.used_bytes(session, org_id)
        if used >= self._quota_bytes:
            raise quota_exceeded(self._quota_bytes, param="file")

    async def _keep(self, row: FileRow, upload: Upload, claim: Claim) -> FileObject:
        # Built before the commit: a row that failed to be written cannot be read any more.
        created, org_id = _wire(row), row.org_id
        try:
            await upload.object.commit()
            async with self._sessions.begin() as session:
                await claim.record(session, created.id)
                await repository.add_file(session, row, quota_bytes=self._quota_bytes)
        except BaseException as error:
            # Also when cancelled, or when a commit was made but its answer was lost.
            await asyncio.shield(self._take_back(claim, org_id, created.id))
            if isinstance(error, QuotaExceeded):
                raise quota_exceeded(error.quota_bytes, param="file") from error
            raise
        return created

    async def list(self, org_id: str, page: PageRequest, purpose: str | None) -> Page[FileObject]:
        """Return one page of files, of one purpose if given. **Raises:** ApiError 400."""
        if purpose is not None and purpose not in PURPOSES:
            raise wrong_purpose(PURPOSES)
        async with self._sessions() as session:
            rows, has_more = await repository.list_files(session, org_id, page, purpose=purpose)
        return Page[FileObject].of([_wire(row) for row in rows], has_more=has_more)

    async def get(self, org_id: str, file_id: str) -> FileObject:
        """Return one file. **Raises:** ApiError 404."""
        found = await self._find(org_id, file_id) if FILE_ID.fullmatch(file_id) else None
        if found is None:
            raise not_found("file", file_id)
        return found

    async def delete(self, org_id: str, file_id: str) -> FileDeleted:
        """Delete one file, bytes included. **Raises:** ApiError 404, 409 while a batch reads it."""
        if not FILE_ID.fullmatch(file_id) or not await self._delete_row(org_id, file_id):
            raise not_found("file", file_id)
        await self._delete_object(file_id)
        return FileDeleted(id=file_id)

    async def content(
        self, org_id: str, file_id: str, range_header: str | None = None
    ) -> FileContent:
        """Open one file, or the part of it that a Range header asks for.

        **Raises:** ApiError 404 or 416, StoreUnavailable, all before any byte.
        """
        file = await self.get(org_id, file_id)
        part = requested(range_header, file.bytes)
        start, length = part or (0, None)
        chunks = self._store.read(object_key(file_id), start=start, length=length)
        try:
            first = await anext(chunks, b"")
        except ObjectNotFound:
            # Deleted since its row was read.
            raise not_found("file", file_id) from None
        return FileContent(file.filename, file.bytes, part, _rejoined(first, chunks))

    async def adapter_key(self, org_id: str, file_id: str) -> str:
        """Return the object key of an adapter ZIP. **Raises:** ApiError 404, or 400 for another."""
        file = await self.get(org_id, file_id)
        if file.purpose != "fine_tuning":
            message = "the input file must have been uploaded with purpose `fine_tuning`"
            raise invalid_request(message, param="input_file_id")
        return object_key(file_id)

    async def _find(self, org_id: str, file_id: str) -> FileObject | None:
        async with self._sessions() as session:
            row = await repository.find_file(session, org_id, file_id)
        return None if row is None else _wire(row)

    async def _take_back(self, claim: Claim, org_id: str, file_id: str) -> None:
        if await claim.give_up():
            # It is the answer to every retry of the key.
            return
        # Where the row may have stayed, so must its bytes; those that no row needs are swept.
        await self._delete_row(org_id, file_id)
        await self._delete_object(file_id)

    async def _delete_row(self, org_id: str, file_id: str) -> bool:
        try:
            async with self._sessions.begin() as session:
                return await repository.delete_file(session, org_id, file_id)
        except FileInUse as error:
            raise _in_use(file_id, error.batch_id) from error

    async def _delete_object(self, file_id: str) -> None:
        # Only for a file whose row was this organisation's: the key itself names no owner.
        try:
            await self._store.delete(object_key(file_id))
        except StoreError:
            # For every reader the file is gone; its bytes are an orphan, which a sweep removes.
            log.warning("object left behind", key=object_key(file_id))


def _wire(row: FileRow | repository.StoredFile) -> FileObject:
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        filename=row.filename,
        purpose=row.purpose,
    )


def _memory_of(headers: Mapping[str, str]) -> int:
    """Return how many bytes an upload of this claimed length may hold at a time."""
    claimed = headers.get("content-length", "")[:20]
    return max(1, min(int(claimed), UPLOAD_BYTES)) if claimed.isdecimal() else UPLOAD_BYTES


def _in_use(file_id: str, batch_id: str) -> ApiError:
    message = (
        f"The file {file_id} is the input of {batch_id}, which has not ended. Please cancel it, or "
        "wait for its end."
    )
    return ApiError(409, message, param="id", code="file_in_use", headers=NO_RETRY)


async def _rejoined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    try:
        yield first
        async for chunk in rest:
            yield chunk
    finally:
        # A client that leaves half-way must not keep the store's connection open until the
        # garbage collector comes by.
        if isinstance(rest, AsyncGenerator):
            await rest.aclose()
