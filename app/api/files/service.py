"""Files of an organisation: a row that says what it is, an object that holds its bytes.

The object is written before its row and deleted after it, so a row never lacks its bytes. An id of
another organisation is an unknown id.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import ObjectNotFound, StoreError
from adapters_registry.store import ObjectStore
from app.api.files.schemas import PURPOSES, UPLOAD_PURPOSES, FileDeleted, FileObject
from app.db.tables import FileRow
from app.errors import ApiError, invalid_request, not_found
from app.files import repository
from app.files.objects import object_key
from app.idempotency.claim import Claim
from app.idempotency.creates import KeyedCreates
from app.idempotency.request import CreateRequest
from app.ids import new_id
from app.pagination import Page, PageRequest
from app.settings import LimitSettings
from app.uploads import UploadedFile, UploadForm

FILE_ID = re.compile(r"file_[0-9a-z]{26}")
ZIP_MAGIC = b"PK"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file's bytes, to be read once; `size` of them will come, or an error."""

    filename: str
    size: int
    chunks: AsyncIterator[bytes]


class FilesService:
    """What may be done with files; all methods but `form` take the caller's organisation."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        temp_dir: Path,
        limits: LimitSettings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._creates = KeyedCreates(sessions)
        self._limits = limits
        self._clock = clock
        self.form = UploadForm(temp_dir, limits.upload_bytes, frozenset({"purpose"}))

    async def create(
        self, org_id: str, upload: UploadedFile, *, key: str | None = None
    ) -> FileObject:
        """Keep an uploaded file, once for an idempotency key.

        **Raises:** ApiError 400, 409 or 413, StoreUnavailable.
        """
        purpose = await self._checked_purpose(upload)
        row = FileRow(
            id=new_id("file"),
            org_id=org_id,
            filename=upload.filename,
            purpose=purpose,
            bytes=upload.size,
            sha256=upload.sha256,
            created_at=int(self._clock()),
        )
        content = (purpose, upload.filename, upload.sha256)
        return await self._creates.once(
            CreateRequest.of(org_id, key, "POST /files", *content),
            partial(self._keep, row, upload.path),
            partial(self._find, org_id),
        )

    async def _keep(self, row: FileRow, path: Path, claim: Claim) -> FileObject:
        # Built before the commit: a row that failed to be written cannot be read any more.
        created, org_id = _wire(row), row.org_id
        try:
            await self._store.put(object_key(created.id), path)
            async with self._sessions.begin() as session:
                await claim.record(session, created.id)
                session.add(row)
        except BaseException:
            # Also when cancelled, or when a commit was made but its answer was lost.
            await asyncio.shield(self._take_back(claim, org_id, created.id))
            raise
        return created

    async def list(self, org_id: str, page: PageRequest, purpose: str | None) -> Page[FileObject]:
        """Return one page of files, of one purpose if given. **Raises:** ApiError 400."""
        if purpose is not None and purpose not in PURPOSES:
            raise _wrong_purpose(PURPOSES)
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
        """Delete one file, bytes included. **Raises:** ApiError 404."""
        if not FILE_ID.fullmatch(file_id) or not await self._delete_row(org_id, file_id):
            raise not_found("file", file_id)
        await self._delete_object(file_id)
        return FileDeleted(id=file_id)

    async def content(self, org_id: str, file_id: str) -> FileContent:
        """Open one file. **Raises:** ApiError 404, StoreUnavailable, both before any byte."""
        file = await self.get(org_id, file_id)
        chunks = self._store.read(object_key(file_id))
        try:
            first = await anext(chunks, b"")
        except ObjectNotFound:
            # Deleted since its row was read.
            raise not_found("file", file_id) from None
        return FileContent(file.filename, file.bytes, _rejoined(first, chunks))

    async def adapter_key(self, org_id: str, file_id: str) -> str:
        """Return the object key of an adapter ZIP. **Raises:** ApiError 404, or 400 for another."""
        file = await self.get(org_id, file_id)
        if file.purpose != "fine_tuning":
            message = "the input file must have been uploaded with purpose `fine_tuning`"
            raise invalid_request(message, param="input_file_id")
        return object_key(file_id)

    async def _checked_purpose(self, upload: UploadedFile) -> str:
        purpose = upload.fields.get("purpose")
        if purpose is None:
            raise invalid_request("property 'purpose' is missing", param="purpose")
        if purpose not in UPLOAD_PURPOSES:
            raise _wrong_purpose(UPLOAD_PURPOSES)
        if upload.size == 0:
            raise invalid_request("file is empty", param="file")
        if purpose == "batch":
            self._check_batch(upload)
        elif not await asyncio.to_thread(_is_zip, upload.path):
            message = "a fine_tuning file must be a ZIP archive"
            raise invalid_request(message, param="file", code="zip_invalid")
        return purpose

    def _check_batch(self, upload: UploadedFile) -> None:
        if not upload.filename.lower().endswith(".jsonl"):
            raise invalid_request("a batch file's name must end in .jsonl", param="file")
        if upload.size > (limit := self._limits.batch_file_bytes):
            message = f"the file is too large: a batch file has at most {limit} bytes"
            raise ApiError(413, message, param="file", code="request_too_large")

    async def _find(self, org_id: str, file_id: str) -> FileObject | None:
        async with self._sessions() as session:
            row = await repository.find_file(session, org_id, file_id)
        return None if row is None else _wire(row)

    async def _take_back(self, claim: Claim, org_id: str, file_id: str) -> None:
        if await claim.give_up():
            # It is the answer to every retry of the key.
            return
        try:
            await self._delete_row(org_id, file_id)
        finally:
            await self._delete_object(file_id)

    async def _delete_row(self, org_id: str, file_id: str) -> bool:
        async with self._sessions.begin() as session:
            return await repository.delete_file(session, org_id, file_id)

    async def _delete_object(self, file_id: str) -> None:
        # Only for a file whose row was this organisation's: the key itself names no owner.
        try:
            await self._store.delete(object_key(file_id))
        except StoreError:
            # For every reader the file is gone; the bytes that stay are the operator's concern.
            log.warning("object left behind", key=object_key(file_id))


def _wire(row: FileRow | repository.StoredFile) -> FileObject:
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        filename=row.filename,
        purpose=row.purpose,
    )


def _wrong_purpose(accepted: tuple[str, ...]) -> ApiError:
    names = ", ".join(f"`{purpose}`" for purpose in accepted)
    return invalid_request(f"`purpose` must be one of: {names}", param="purpose")


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(ZIP_MAGIC)) == ZIP_MAGIC


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
