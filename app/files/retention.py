"""Removes what has been kept long enough: files of batches, and batches that have ended.

The row goes first, so that no reader meets a file without its bytes; what a crash leaves in the
store after that is an orphan like any other. Files of other purposes stay until they are deleted.
"""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.store import ObjectStore
from app.files import upkeep_repository
from app.files.objects import object_key
from app.storage.orphans import SweepObserver

STEP = 100
"""Rows of one transaction, so that none holds up the others for long."""


class Retention:
    """One replica's rounds; any number of replicas may remove at once."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        observer: SweepObserver,
        *,
        keep_seconds: int,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._observer = observer
        self._keep_seconds = keep_seconds

    async def run_round(self) -> None:
        """Remove all that is old by the database's clock. **Raises:** StoreUnavailable."""
        await self._remove_batches()
        await self._remove_files()

    async def _remove_batches(self) -> None:
        removed = STEP
        while removed == STEP:
            async with self._sessions.begin() as session:
                removed = await upkeep_repository.remove_old_batches(
                    session, keep_seconds=self._keep_seconds, at_most=STEP
                )
            self._observer.swept("batch", removed)

    async def _remove_files(self) -> None:
        last: str | None = ""
        while last is not None:
            async with self._sessions.begin() as session:
                removed, last = await upkeep_repository.remove_old_files(
                    session, keep_seconds=self._keep_seconds, after=last, at_most=STEP
                )
            self._observer.swept("file", len(removed))
            for id in removed:
                await self._store.delete(object_key(id))
