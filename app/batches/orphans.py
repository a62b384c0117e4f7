"""Which of the batches' objects nobody needs: those of a batch that has ended or is gone."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from adapters_registry.store import ObjectStore
from app.batches.objects import BATCHES
from app.batches.types import UNFINISHED
from app.db.tables import BatchRow
from app.storage.orphans import ObjectKind


async def remove_objects(store: ObjectStore, batch_id: str) -> None:
    """Delete all objects of a batch; none is no error. **Raises:** StoreError."""
    async for info in store.list(f"{BATCHES}{batch_id}/"):
        await store.delete(info.key)


async def _needed(session: AsyncSession, ids: Collection[str]) -> set[str]:
    query = select(BatchRow.id).where(BatchRow.id.in_(ids), BatchRow.status.in_(UNFINISHED))
    return set((await session.scalars(query)).all())


BATCH_OBJECTS = ObjectKind("orphaned_batch", BATCHES, "batch", _needed, remove_objects)
