"""Whether the object store belongs to this database: the same mark lies in both."""

import asyncio
import tempfile
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import ObjectNotFound
from adapters_registry.store import ObjectStore
from app.db.tables import DeploymentRow

MARK = "deployment"
MARK_BYTES = 64
"""Longest mark."""


class StoreOwnership:
    """Protects a store from a server that was started with another database, or with a new one."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], store: ObjectStore, work_dir: Path
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._work_dir = work_dir

    async def is_ours(self) -> bool:
        """Compare the marks; a store without one becomes ours. **Raises:** StoreError."""
        async with self._sessions() as session:
            ours = (await session.scalars(select(DeploymentRow.id))).one()
        try:
            return await self._read() == ours.encode()
        except ObjectNotFound:
            await self._write(ours)
            return True

    async def _read(self) -> bytes:
        # A byte more than a mark has, so that one that merely begins like ours is not ours.
        return b"".join([chunk async for chunk in self._store.read(MARK, length=MARK_BYTES + 1)])

    async def _write(self, mark: str) -> None:
        with tempfile.NamedTemporaryFile(dir=self._work_dir) as file:
            path = Path(file.name)
            await asyncio.to_thread(path.write_text, mark)
            await self._store.put(MARK, path)
