"""Batches as their owners see them: created, looked at, cancelled.

A batch of another organisation is an unknown one. Creating writes one row; all work is done by
whoever takes the row up, in this process or another.
"""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.api.batches.schemas import (
    DEFAULT_PAGE,
    MAX_IDS,
    BatchErrorObject,
    BatchErrors,
    BatchList,
    BatchObject,
    CreateBatchRequest,
    RequestCounts,
)
from app.auth.authenticator import Caller
from app.batches import repository
from app.batches.repository import FoundBatch, NewBatch
from app.batches.types import UNFINISHED
from app.batches.window import window_seconds
from app.db.tables import BatchRow
from app.errors import NO_RETRY, ApiError, invalid_request, not_found, quota_exceeded
from app.files.repository import find_file, used_bytes
from app.idempotency.claim import Claim
from app.idempotency.creates import KeyedCreates
from app.idempotency.request import CreateRequest
from app.ids import new_id
from app.pagination import PageRequest
from app.settings import BatchSettings

BATCH_ID = re.compile(r"batch_[0-9a-z]{26}")
FILE_ID = re.compile(r"file_[0-9a-z]{26}")


class BatchesService:
    """What may be done with batches.

    `allows` tells whether a plan has them; who keeps `quota_bytes` of files has no room for their
    results. `on_change` is called whenever there is new work to do.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        settings: BatchSettings,
        allows: Callable[[str | None], bool],
        *,
        quota_bytes: int,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions = sessions
        self._quota_bytes = quota_bytes
        self._creates = KeyedCreates(sessions)
        self._most_unfinished = settings.active_per_organization
        self._allows = allows
        self._on_change = on_change

    async def create(
        self, caller: Caller, wanted: CreateBatchRequest, *, key: str | None = None
    ) -> BatchObject:
        """Make a batch of an uploaded file, once for an idempotency key.

        **Raises:** ApiError 400 for a file of another purpose, 403, 404, 409, 413 where the files'
        quota is used up, or 429 where there are too many batches that are not finished.
        """
        if not self._allows(caller.plan):
            raise _not_in_plan()
        if not FILE_ID.fullmatch(wanted.input_file_id):
            raise not_found("file", wanted.input_file_id)
        content = wanted.model_dump(mode="json")
        return await self._creates.once(
            CreateRequest.of(caller.org_id, key, "POST /batches", content),
            partial(self._keep, _new(caller, wanted)),
            partial(self._find, caller.org_id),
        )

    async def get(self, org_id: str, batch_id: str) -> BatchObject:
        """Return one batch. **Raises:** ApiError 404."""
        found = await self._find(org_id, batch_id) if BATCH_ID.fullmatch(batch_id) else None
        if found is None:
            raise not_found("batch", batch_id)
        return found

    async def list(
        self, org_id: str, *, limit: int | None, after: str | None, ids: Sequence[str] = ()
    ) -> BatchList:
        """Return one page, newest first: of all, or of those of some ids that there are.

        Without a limit, a page has room for all the ids. **Raises:** ApiError 400.
        """
        if len(ids) > MAX_IDS:
            raise invalid_request(f"at most {MAX_IDS} ids may be given", param="id")
        wanted = [id for id in ids if BATCH_ID.fullmatch(id)] if ids else None
        page = PageRequest(limit or len(ids) or DEFAULT_PAGE, after)
        async with self._sessions() as session:
            found, has_more = await repository.list_page(session, org_id, page, wanted)
        return BatchList.of_page([_wire(batch) for batch in found], has_more=has_more)

    async def cancel(self, org_id: str, batch_id: str) -> BatchObject:
        """Have a batch end with what is finished; again is the same.

        **Raises:** ApiError 404, or 409 where it has ended or its results are being written.
        """
        if not BATCH_ID.fullmatch(batch_id):
            raise not_found("batch", batch_id)
        async with self._sessions.begin() as session:
            await repository.cancel(session, org_id, batch_id)
            found = await repository.find(session, org_id, batch_id)
        if found is None:
            raise not_found("batch", batch_id)
        self._on_change()
        if found.row.status != "cancelling":
            raise _not_cancellable(found.row.status)
        return _wire(found)

    async def _keep(self, batch: NewBatch, claim: Claim) -> BatchObject:
        try:
            async with self._sessions.begin() as session:
                await self._admit(session, batch)
                await claim.record(session, batch.id)
                created = _wire(FoundBatch(await repository.add(session, batch), 0, 0, 0))
        except BaseException:
            # Also when cancelled, or when a commit was made but its answer was lost.
            await asyncio.shield(self._take_back(claim, batch))
            raise
        self._on_change()
        return created

    async def _admit(self, session: AsyncSession, batch: NewBatch) -> None:
        unfinished = await repository.admit_one(session, batch.org_id)
        if unfinished >= self._most_unfinished:
            raise _too_many(self._most_unfinished)
        if await used_bytes(session, batch.org_id) >= self._quota_bytes:
            raise quota_exceeded(self._quota_bytes, param="input_file_id")
        file = await find_file(session, batch.org_id, batch.input_file_id, lock=True)
        if file is None:
            raise not_found("file", batch.input_file_id)
        if file.purpose != "batch":
            message = "the input file must have been uploaded with purpose `batch`"
            raise invalid_request(message, param="input_file_id")

    async def _take_back(self, claim: Claim, batch: NewBatch) -> None:
        if await claim.give_up():
            # It is the answer to every retry of the key.
            return
        async with self._sessions.begin() as session:
            await repository.take_back(session, batch.org_id, batch.id)

    async def _find(self, org_id: str, batch_id: str) -> BatchObject | None:
        async with self._sessions() as session:
            found = await repository.find(session, org_id, batch_id)
        return None if found is None else _wire(found)


def _new(caller: Caller, wanted: CreateBatchRequest) -> NewBatch:
    seconds = window_seconds(wanted.completion_window)
    assert seconds is not None, "the schema has checked it"
    return NewBatch(
        id=new_id("batch"),
        org_id=caller.org_id,
        input_file_id=wanted.input_file_id,
        endpoint=wanted.endpoint,
        window=wanted.completion_window,
        seconds=seconds,
        labels=None if wanted.metadata is None else json.dumps(wanted.metadata),
        key_id=caller.key_id,
    )


def _wire(found: FoundBatch) -> BatchObject:
    row = found.row
    has_ended = row.status not in UNFINISHED
    return BatchObject(
        id=row.id,
        endpoint=row.endpoint,
        errors=_errors(row.errors),
        input_file_id=row.input_file_id,
        completion_window=row.window,
        status=row.status,
        output_file_id=row.output_file_id if has_ended else None,
        error_file_id=row.error_file_id if has_ended else None,
        created_at=row.created_at,
        in_progress_at=row.in_progress_at,
        expires_at=row.expires_at,
        finalizing_at=row.finalizing_at,
        completed_at=row.completed_at,
        failed_at=row.failed_at,
        expired_at=row.expired_at,
        cancelling_at=row.cancelling_at,
        cancelled_at=row.cancelled_at,
        request_counts=_counts(row if has_ended else found),
        metadata=None if row.labels is None else json.loads(row.labels),
    )


def _counts(of: BatchRow | FoundBatch) -> RequestCounts:
    return RequestCounts(total=of.total, completed=of.completed, failed=of.failed)


def _errors(stored: str | None) -> BatchErrors | None:
    if stored is None:
        return None
    return BatchErrors(data=[BatchErrorObject(**error) for error in json.loads(stored)])


def _not_in_plan() -> ApiError:
    message = "Batches are not available for the plan of this organization."
    return ApiError(403, message, type="permissions_error", code="not_available_for_plan")


def _too_many(most: int) -> ApiError:
    message = (
        f"Too many batches: at most {most} of an organization may be unfinished at a time. Create "
        "this one when another has ended, or has been cancelled."
    )
    headers = {"retry-after": "60", **NO_RETRY}
    return ApiError(429, message, type="requests", code="too_many_active_batches", headers=headers)


def _not_cancellable(status: str) -> ApiError:
    message = (
        f"The batch cannot be cancelled: its status is `{status}`. Only `validating` and "
        "`in_progress` batches can."
    )
    return ApiError(409, message, code="batch_not_cancellable", headers=NO_RETRY)
