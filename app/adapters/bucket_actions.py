"""What the sync does with one adapter directory of the bucket: publish it or retire it.

Every step may be repeated, by this process or another: a crash between two of them is made good by
the next round. A refusal is kept with the mark of the content that it is about.
"""

import time
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import InvalidAdapter, ObjectNotFound
from adapters_registry.store import ObjectStore
from adapters_registry.sync import directories
from app.adapters import bucket_repository, repository
from app.adapters.intake import AdapterIntake
from app.adapters.names import Alias, is_valid_name
from app.adapters.publisher import AdapterPublisher, Origin
from app.adapters.withdrawals import Withdrawals
from app.db.tables import BucketAdapterRow, FineTuningRow
from app.engine.base import Engine
from app.ids import new_id


class Outcome(StrEnum):
    """How acting upon a directory ended. CHANGED is no failure: it is still being written."""

    PUBLISHED = "published"
    REFUSED = "refused"
    CHANGED = "changed"
    RETIRED = "retired"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BucketAdapter:
    """A listed directory whose organisation exists and whose base model this process serves."""

    source: str
    mark: str
    size_bytes: int
    alias: Alias
    engine: Engine


class BucketActions:
    """Acts for all organisations, on what operators put into the bucket."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        intake: AdapterIntake,
        publisher: AdapterPublisher,
        withdrawals: Withdrawals,
        *,
        max_bytes: int,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._intake = intake
        self._publisher = publisher
        self._withdrawals = withdrawals
        self._max_bytes = max_bytes

    async def publish(self, adapter: BucketAdapter) -> Outcome:
        """Make the content the newest version of its name, or note why it is refused.

        What served before goes on. Content that changes meanwhile has no effect.
        **Raises:** StoreError, AdapterCapacityExceeded, EngineError, SQLAlchemyError.
        """
        try:
            version = await self._publish(adapter)
            row = None if version is None else _row(adapter, digest=version.digest)
        except ObjectNotFound:
            return Outcome.CHANGED
        except InvalidAdapter as refusal:
            row = _row(adapter, refusal=refusal) if await self._is_unchanged(adapter) else None
        if row is None:
            return Outcome.CHANGED
        async with self._sessions.begin() as session:
            await bucket_repository.record(session, row)
        return Outcome.PUBLISHED if row.code is None else Outcome.REFUSED

    async def retire(self, source: str) -> Outcome:
        """Delete every version that came from the directory; running requests finish.

        **Raises:** SQLAlchemyError.
        """
        async with self._sessions.begin() as session:
            rows = await repository.by_source(session, source)
            for row in rows:
                await repository.remove(session, row.org_id, row.id)
            await bucket_repository.remove(session, source)
        for row in rows:
            self._withdrawals.begin(row)
        return Outcome.RETIRED

    async def _publish(self, adapter: BucketAdapter) -> FineTuningRow | None:
        """Return None where what was copied is not what was listed."""
        self._check(adapter)
        async with self._intake.copied(f"{adapter.source}/", adapter.engine) as artifact:
            if not await self._is_unchanged(adapter):
                return None
            origin = Origin(source=adapter.source)
            return await self._publisher.publish(adapter.alias, artifact, adapter.engine, origin)

    def _check(self, adapter: BucketAdapter) -> None:
        if not is_valid_name(adapter.alias.name):
            message = (
                "The directory's name must be 1 to 63 characters of a-z, 0-9 and '-', start and "
                "end with a letter or digit, and not end in '-' and 12 hexadecimal digits."
            )
            raise InvalidAdapter("name_invalid", message, param="name")
        if adapter.size_bytes > self._max_bytes:
            message = (
                f"The two files hold {adapter.size_bytes} bytes; {self._max_bytes} are allowed. "
                "Save the adapter alone, in half precision, without the base model."
            )
            raise InvalidAdapter("too_large", message)

    async def _is_unchanged(self, adapter: BucketAdapter) -> bool:
        listing = [info async for info in self._store.list(f"{adapter.source}/")]
        marks = {found.source: found.mark for found in directories(listing)}
        return marks.get(adapter.source) == adapter.mark


def _row(
    adapter: BucketAdapter, *, digest: str | None = None, refusal: InvalidAdapter | None = None
) -> BucketAdapterRow:
    row = BucketAdapterRow(
        id=new_id("ft"),
        source=adapter.source,
        org_id=adapter.alias.org_id,
        base_model=adapter.alias.base_model,
        name=adapter.alias.name,
        applied=adapter.mark,
        digest=digest,
        created_at=int(time.time()),
    )
    if refusal is not None:
        row.code, row.param, row.message = refusal.code, refusal.param, refusal.message
    return row
