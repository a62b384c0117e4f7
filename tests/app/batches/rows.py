"""Rows of batches, chunks and files, written straight into a test's database."""

from typing import Any

from sqlalchemy import update

from app.batches.types import ChunkSpec
from app.db.engine import Database
from app.db.tables import BatchChunkRow, BatchRow, FileRow
from app.ids import new_id


async def add_file(database: Database, org_id: str, **fields: Any) -> str:
    """Insert a file of purpose `batch`, without bytes in any store; return its id."""
    known: dict[str, Any] = {"filename": "in.jsonl", "purpose": "batch", "bytes": 2, "sha256": "0"}
    row = FileRow(**{"id": new_id("file"), "org_id": org_id, "created_at": 0, **known, **fields})
    async with database.sessions.begin() as session:
        session.add(row)
    return row.id


async def set_batch(database: Database, batch_id: str, **fields: Any) -> None:
    """Change a batch as a worker would."""
    async with database.sessions.begin() as session:
        await session.execute(update(BatchRow).where(BatchRow.id == batch_id).values(fields))


async def add_chunks(
    database: Database, org_id: str, batch_id: str, *counts: tuple[int, int, int]
) -> None:
    """Insert chunks with these numbers of lines, of completed and of failed ones."""
    spec = ChunkSpec("base", "", 0, 10, 0)._asdict()
    state = {"state": "queued", "parts": "[]", "leased_until": 0, "attempts": 0}
    async with database.sessions.begin() as session:
        for number, (lines, completed, failed) in enumerate(counts):
            values = {**spec, "lines": lines, "completed": completed, "failed": failed, **state}
            session.add(BatchChunkRow(batch_id=batch_id, org_id=org_id, number=number, **values))
