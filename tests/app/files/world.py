"""Files and batches of one organisation, as rows and objects of a test's own making."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select, update

from app.batches.objects import BATCHES, input_key, part_key
from app.batches.orphans import BATCH_OBJECTS, remove_objects
from app.db.engine import Database
from app.db.tables import UNFINISHED, BatchRow, FileRow
from app.files import repository
from app.files.objects import FILES, object_key
from app.files.orphans import FILE_OBJECTS
from app.files.retention import Retention
from app.ids import new_id
from app.storage.orphans import OrphanSweep
from tests.app.files.crashes import MortalStore
from tests.app.storage.world import GRACE, Swept, orphan_sweep

DAY = 86_400
KEEP_SECONDS = 30 * DAY
QUOTA = 1 << 40


def file_row(org_id: str, *, purpose: str = "batch", size: int = 1, age: int = 0) -> FileRow:
    """Return a file that was made `age` seconds ago."""
    return FileRow(
        id=new_id("file"),
        org_id=org_id,
        filename="a.jsonl",
        purpose=purpose,
        bytes=size,
        sha256="0" * 64,
        created_at=int(time.time()) - age,
    )


def batch_row(org_id: str, input_file_id: str, status: str = "validating") -> BatchRow:
    """Return a batch that has just been made."""
    now = int(time.time())
    return BatchRow(
        id=new_id("batch"),
        org_id=org_id,
        input_file_id=input_file_id,
        endpoint="/v1/chat/completions",
        window="24h",
        status=status,
        total=0,
        completed=0,
        failed=0,
        created_at=now,
        expires_at=now + DAY,
        leased_until=0,
        attempts=0,
    )


@dataclass
class World:
    """One organisation's files and batches in a database and a store."""

    database: Database
    store: MortalStore
    org_id: str
    room: Path
    swept: Swept = field(default_factory=Swept)

    async def put(self, key: str) -> None:
        path = self.room / uuid4().hex
        path.write_bytes(b"x")
        await self.store.put(key, path)

    async def file(self, *, purpose: str = "batch", age: int = 0) -> str:
        """Keep a file: its bytes first, then its row; return its id."""
        row = file_row(self.org_id, purpose=purpose, age=age)
        id = row.id
        await self.put(object_key(id))
        async with self.database.sessions.begin() as session:
            await repository.add_file(session, row, quota_bytes=QUOTA)
        return id

    async def delete(self, file_id: str) -> None:
        """Delete a file: its row first, then its bytes."""
        async with self.database.sessions.begin() as session:
            is_gone = await repository.delete_file(session, self.org_id, file_id)
        if is_gone:
            await self.store.delete(object_key(file_id))

    async def batch(self, input_file_id: str) -> str | None:
        """Create a batch as a client does; None where there is no such file."""
        async with self.database.sessions.begin() as session:
            if not await repository.find_file(session, self.org_id, input_file_id, lock=True):
                return None
            row = batch_row(self.org_id, input_file_id)
            id = row.id
            session.add(row)
        return id

    async def work_on(self, batch_id: str) -> None:
        """Store what belongs to a batch that is worked on."""
        for key in (input_key(batch_id), part_key(batch_id, "0"), part_key(batch_id, "1")):
            await self.put(key)

    async def begin_end(self, batch_id: str) -> str:
        """Give out the id of an output file, and store the file."""
        output = new_id("file")
        async with self.database.sessions.begin() as session:
            statement = update(BatchRow).where(BatchRow.id == batch_id)
            await session.execute(statement.values(status="finalizing", output_file_id=output))
        await self.put(object_key(output))
        return output

    async def complete(self, batch_id: str, output: str) -> None:
        """End a batch with its output file, and remove what belonged to it."""
        row = file_row(self.org_id, purpose="batch_output")
        row.id = output
        async with self.database.sessions.begin() as session:
            session.add(row)
            statement = update(BatchRow).where(BatchRow.id == batch_id)
            now = int(time.time())
            await session.execute(statement.values(status="completed", completed_at=now))
        await remove_objects(self.store, batch_id)

    async def end(self, batch_id: str, status: str = "completed", *, age: int = 0) -> None:
        """Let a batch end, `age` seconds ago, and leave its objects behind."""
        async with self.database.sessions.begin() as session:
            statement = update(BatchRow).where(BatchRow.id == batch_id)
            ended = {f"{status}_at": int(time.time()) - age}
            await session.execute(statement.values(status=status, **ended))

    async def unfinished(self) -> list[BatchRow]:
        async with self.database.sessions() as session:
            query = select(BatchRow).where(BatchRow.status.in_(UNFINISHED))
            return list(await session.scalars(query))

    async def files(self) -> set[str]:
        async with self.database.sessions() as session:
            return set(await session.scalars(select(FileRow.id)))

    async def batches(self) -> set[str]:
        async with self.database.sessions() as session:
            return set(await session.scalars(select(BatchRow.id)))

    async def objects(self, prefix: str) -> set[str]:
        """Return the ids that have objects."""
        listed = self.store.list(prefix)
        return {info.key.removeprefix(prefix).split("/")[0] async for info in listed}

    async def stored_files(self) -> set[str]:
        return await self.objects(FILES)

    async def stored_batches(self) -> set[str]:
        return await self.objects(BATCHES)

    def retention(self) -> Retention:
        return Retention(self.database.sessions, self.store, self.swept, keep_seconds=KEEP_SECONDS)

    def sweep(self, *, later: float = GRACE + 1) -> OrphanSweep:
        kinds = [FILE_OBJECTS, BATCH_OBJECTS]
        return orphan_sweep(self.database, self.store, kinds, self.swept, self.room, later=later)

    async def sweep_twice(self, *, later: float = GRACE + 1) -> None:
        sweep = self.sweep(later=later)
        await sweep.sweep()
        await sweep.sweep()
