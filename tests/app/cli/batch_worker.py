"""What a worker does to a batch, done by hand, so that commands can be tested without an engine."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select, update

from app.batches.types import BatchError, Status
from app.db.clock import NOW
from app.db.tables import BatchChunkRow, BatchRow, FileRow
from app.files.objects import object_key
from app.ids import new_id
from tests.app.adapters.world import World


@dataclass
class Worker:
    """Works on the newest batch of one organisation."""

    world: World
    org_id: str

    async def batch_ids(self) -> list[str]:
        """Return the ids of all its batches, newest first."""
        mine = select(BatchRow.id).where(BatchRow.org_id == self.org_id)
        async with self.world.database.sessions() as session:
            return list(await session.scalars(mine.order_by(BatchRow.id.desc())))

    async def begins(self, total: int) -> None:
        """Find the input good, and cut it into one chunk."""
        (batch_id, *_), text = await self.batch_ids(), {"model": "", "adapter": "", "parts": "[]"}
        numbers = {"number": 0, "start": 0, "length": 1, "completed": 0, "failed": 0}
        lease = {"leased_until": 0, "attempts": 1, "state": "running"}
        chunk = {"batch_id": batch_id, "org_id": self.org_id, "lines": total}
        async with self.world.database.sessions.begin() as session:
            session.add(BatchChunkRow(**chunk, **text, **numbers, **lease))
        await self._set(status="in_progress", in_progress_at=NOW, total=total)

    async def counts(self, completed: int, failed: int = 0) -> None:
        """Store results, which are counted."""
        (batch_id, *_) = await self.batch_ids()
        mine = update(BatchChunkRow).where(BatchChunkRow.batch_id == batch_id)
        async with self.world.database.sessions.begin() as session:
            await session.execute(mine.values(completed=completed, failed=failed))

    async def refuses(self, *errors: BatchError) -> None:
        """Find the input bad."""
        told = json.dumps([asdict(error) for error in errors])
        await self._set(status="failed", failed_at=NOW, errors=told)

    async def ends(
        self,
        status: Status = "completed",
        *,
        output: Sequence[str] = (),
        errors: Sequence[str] = (),
    ) -> None:
        """Write the results' files, and end the batch."""
        await self._set(
            status=status,
            **{f"{status}_at": NOW},
            completed=len(output),
            failed=len(errors),
            total=len(output) + len(errors),
            output_file_id=await self._file("output.jsonl", output),
            error_file_id=await self._file("error.jsonl", errors),
        )

    async def copies(self, count: int) -> None:
        """Have so many more batches like it."""
        (batch_id, *_) = await self.batch_ids()
        async with self.world.database.sessions.begin() as session:
            row = await session.get_one(BatchRow, batch_id)
            values = {column.name: getattr(row, column.name) for column in row.__table__.columns}
            session.add_all(BatchRow(**{**values, "id": new_id("batch")}) for _ in range(count))

    async def _file(self, filename: str, lines: Sequence[str]) -> str | None:
        if not lines:
            return None
        content, file_id = "".join(f"{line}\n" for line in lines).encode(), new_id("file")
        path = self.world.room / file_id
        path.write_bytes(content)
        await self.world.store.put(object_key(file_id), path)
        row = FileRow(
            id=file_id,
            org_id=self.org_id,
            filename=filename,
            purpose="batch_output",
            bytes=len(content),
            sha256="",
            created_at=0,
        )
        async with self.world.database.sessions.begin() as session:
            session.add(row)
        return file_id

    async def _set(self, **values: Any) -> None:
        (batch_id, *_) = await self.batch_ids()
        mine = update(BatchRow).where(BatchRow.id == batch_id)
        async with self.world.database.sessions.begin() as session:
            await session.execute(mine.values(**values))
