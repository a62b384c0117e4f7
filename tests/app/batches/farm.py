"""Batches in a test's own database and store, processes that work on them, and what must hold."""

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from inspect import isawaitable
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, update

from adapters_registry.directory import DirectoryStore
from app.batches.objects import BATCHES
from app.batches.types import UNFINISHED
from app.db.clock import NOW
from app.db.engine import Database
from app.db.tables import BatchChunkRow, BatchRow, FileRow, UsageRow
from app.files.objects import object_key
from app.ids import new_id
from tests.app.batches.processes import BASE, URL, Process
from tests.fixtures.databases import add_organization

PATIENCE_SECONDS = 20.0
ENDED = "completed", "expired", "cancelled", "failed"


def line(custom_id: str, *, model: str = BASE, do: str = "answer") -> dict[str, Any]:
    """Make a line of a client's file."""
    body = {"model": model, "do": do, "messages": [{"role": "user", "content": custom_id}]}
    return {"custom_id": custom_id, "method": "POST", "url": URL, "body": body}


def lines(count: int, **fields: Any) -> list[dict[str, Any]]:
    """Make lines whose order as written is that of their names."""
    return [line(f"line-{number:04}", **fields) for number in range(count)]


async def until(holds: Callable[[], object | Awaitable[object]]) -> None:
    """Wait for what nobody tells of."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in itertools.count():
            held = holds()
            if await held if isawaitable(held) else held:
                return
            await asyncio.sleep(0.01)


async def until_any(*waits: Any) -> None:
    """Wait until one of these has come."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


class Farm:
    """A database, a store, and what tests ask of both."""

    def __init__(self, database: Database, root: Path, org_id: str) -> None:
        self.database = database
        self.store = DirectoryStore(root / "objects")
        self.work_dir = root / "work"
        self.work_dir.mkdir()
        self.org_id = org_id

    @classmethod
    async def open(cls, database: Database, root: Path) -> "Farm":
        return cls(database, root, await add_organization(database, "acme"))

    async def add(self, asked: Sequence[Any], *, org_id: str | None = None, **row: Any) -> str:
        """Make a batch of these lines, as it is after its creation; return its id."""
        org_id = org_id or self.org_id
        written = "".join(json.dumps(each) + "\n" for each in asked).encode()
        file = FileRow(
            id=new_id("file"),
            org_id=org_id,
            filename="in.jsonl",
            purpose="batch",
            bytes=len(written),
            sha256=hashlib.sha256(written).hexdigest(),
            created_at=0,
        )
        await self._put(object_key(file.id), written)
        usual = {"status": "validating", "total": 0, "completed": 0, "failed": 0}
        values = {"leased_until": 0, "attempts": 0, **usual, **row}
        async with self.database.sessions.begin() as session:
            now = await session.scalar(select(NOW))
            assert now is not None
            values = {"created_at": now, "expires_at": now + 86_400, **values}
            batch = BatchRow(
                id=new_id("batch"),
                org_id=org_id,
                input_file_id=file.id,
                endpoint=URL,
                window="24h",
                **values,
            )
            session.add_all([file, batch])
        return batch.id

    def process(self, **options: Any) -> Process:
        """Make a process, which works from its worker's start."""
        return Process(self.database, self.store, self.work_dir, **options)

    @asynccontextmanager
    async def working(self, *processes: Process) -> AsyncIterator[None]:
        """Have processes work until the block ends."""
        async with AsyncExitStack() as stack:
            for process in processes:
                process.worker.start()
                stack.push_async_callback(process.worker.close)
            yield

    async def work_off(self, batch_id: str, **options: Any) -> Process:
        """Have a new process work until the batch has ended."""
        process = self.process(**options)
        async with self.working(process):
            await self.ended(batch_id)
        return process

    async def row(self, batch_id: str) -> BatchRow:
        async with self.database.sessions() as session:
            found = await session.get(BatchRow, batch_id)
        assert found is not None
        return found

    async def chunks(self, batch_id: str) -> list[BatchChunkRow]:
        query = select(BatchChunkRow).where(BatchChunkRow.batch_id == batch_id)
        async with self.database.sessions() as session:
            return list(await session.scalars(query.order_by(BatchChunkRow.number)))

    async def ended(self, *batch_ids: str) -> None:
        """Wait until batches have ended."""
        for batch_id in batch_ids:
            await until(partial(self._has_ended, batch_id))

    async def _has_ended(self, batch_id: str) -> bool:
        return (await self.row(batch_id)).status not in UNFINISHED

    async def planned(self, batch_id: str) -> None:
        """Have a batch validated, and none of its lines asked."""
        process = self.process()
        process.capacity.up = False
        async with self.working(process):
            await until(partial(self.chunks, batch_id))

    async def saved(self, batch_id: str) -> int:
        """Return how many lines' results are in the database."""
        return sum(chunk.completed + chunk.failed for chunk in await self.chunks(batch_id))

    async def change(self, batch_id: str, **values: Any) -> None:
        """Change a batch's row."""
        if values:
            mine = update(BatchRow).where(BatchRow.id == batch_id)
            async with self.database.sessions.begin() as session:
                await session.execute(mine.values(values))

    async def change_chunks(self, batch_id: str, **values: Any) -> None:
        """Change the rows of a batch's chunks."""
        if values:
            mine = update(BatchChunkRow).where(BatchChunkRow.batch_id == batch_id)
            async with self.database.sessions.begin() as session:
                await session.execute(mine.values(values))

    async def end_leases(self) -> None:
        """Let every lease be over, as if its time had passed."""
        async with self.database.sessions.begin() as session:
            for row in (BatchRow, BatchChunkRow):
                await session.execute(update(row).values(leased_until=0))

    async def results(self, batch_id: str) -> tuple[list[Any], list[Any]]:
        """Return what the output and the error file hold."""
        row = await self.row(batch_id)
        return await self._read(row, row.output_file_id), await self._read(row, row.error_file_id)

    async def check(self, batch_id: str, asked: Sequence[Any]) -> None:
        """Require what holds for any batch that has ended: each line once, all numbers right."""
        row = await self.row(batch_id)
        assert row.status in ENDED
        assert (row.token, row.leased_until) == (None, 0)
        assert await self.chunks(batch_id) == []
        output, error = await self.results(batch_id)
        told = [result["custom_id"] for result in (*output, *error)]
        if row.total:
            assert sorted(told) == sorted(each["custom_id"] for each in asked)
        assert len({result["id"] for result in (*output, *error)}) == len(told)
        assert (row.completed, row.failed) == (len(output), len(error))
        assert row.completed + row.failed == row.total
        assert all(result["response"]["status_code"] == 200 for result in output)
        for results in (output, error):
            order = [result["custom_id"] for result in results]
            assert order == [each["custom_id"] for each in asked if each["custom_id"] in order]

    async def check_usage(self) -> None:
        """Require that every line that was answered is counted once, all batches having ended."""
        async with self.database.sessions() as session:
            answered = await session.scalar(select(func.sum(BatchRow.completed)))
            counted = await session.scalar(select(func.sum(UsageRow.requests)))
        assert (counted or 0) == answered

    async def objects(self, batch_id: str) -> list[str]:
        """Return the keys of what the store keeps for a batch's sake."""
        return [info.key async for info in self.store.list(f"{BATCHES}{batch_id}/")]

    async def _put(self, key: str, content: bytes) -> None:
        path = self.work_dir / new_id("file")
        path.write_bytes(content)
        await self.store.put(key, path)
        path.unlink()

    async def _read(self, row: BatchRow, file_id: str | None) -> list[Any]:
        if file_id is None:
            return []
        async with self.database.sessions() as session:
            file = await session.get(FileRow, file_id)
        assert file is not None
        content = b"".join([piece async for piece in self.store.read(object_key(file_id))])
        assert (file.org_id, file.purpose) == (row.org_id, "batch_output")
        assert (file.bytes, file.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        return [json.loads(each) for each in content.splitlines()]
