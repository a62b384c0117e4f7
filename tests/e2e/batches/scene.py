"""A database, a store and batches for worker processes, and what must hold when they are done."""

import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import asyncpg
from sqlalchemy import func, select

from app.batches.orphans import BATCH_OBJECTS
from app.batches.types import UNFINISHED, Status
from app.db.engine import Database
from app.db.tables import FileRow
from app.files.objects import FILES, object_key
from app.files.orphans import FILE_OBJECTS
from app.observability.metrics import Metrics
from app.storage.orphans import OrphanSweep
from app.storage.ownership import StoreOwnership
from tests.app.batches.farm import Farm
from tests.e2e.batches.waiting import WAIT_SECONDS, until
from tests.e2e.batches.worker_process import CHAT, Order
from tests.e2e.batches.workers import WorkerProcess, running, times_asked
from tests.fixtures.server import TINY

GRACE_SECONDS = 3600.0
QUICK = {
    "lease_seconds": 1,
    "checkpoint_seconds": 0.3,
    "poll_seconds": 0.1,
    "chunk_lines": 32,
}


def chat_lines(count: int, *, max_tokens: int = 3) -> list[dict[str, Any]]:
    """Make lines of a client's file; each tells its custom id as `user` too."""
    return [_chat_line(f"line-{number:04}", max_tokens) for number in range(count)]


def _chat_line(custom_id: str, max_tokens: int) -> dict[str, Any]:
    body = {
        "model": TINY,
        "user": custom_id,
        "messages": [{"role": "user", "content": f"Tell me of {custom_id}"}],
        "temperature": 0,
        "max_tokens": max_tokens,
    }
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


class Watch:
    """Looks at a batch's row often, and without being in the workers' way."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._sqlite: sqlite3.Connection | None = None
        self._postgres: Any = None

    async def __aenter__(self) -> Self:
        if self._url.startswith("sqlite"):
            path = self._url.partition(":///")[2]
            self._sqlite = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        else:
            self._postgres = await asyncpg.connect(self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
        if self._postgres is not None:
            await self._postgres.close()

    async def state(self, batch_id: str) -> tuple[Status, str | None]:
        """Return status and token."""
        query = f"SELECT status, token FROM batches WHERE id = '{batch_id}'"
        if self._sqlite is not None:
            found: tuple[Status, str | None] = self._sqlite.execute(query).fetchone()
            return found
        row = await self._postgres.fetchrow(query)
        return row["status"], row["token"]


@dataclass(frozen=True)
class Scene:
    """Batches in a database and a store; `order` is what every worker of them is told."""

    farm: Farm
    order: Order
    watch: Watch

    def worker(self, **changes: Any) -> WorkerProcess:
        """Start a worker; somebody must end it."""
        return WorkerProcess(replace(self.order, **changes))

    @asynccontextmanager
    async def working(self, *changes: Mapping[str, Any]) -> AsyncIterator[Sequence[WorkerProcess]]:
        """Run a worker for each of the changed orders, until the block ends."""
        orders = [replace(self.order, **change) for change in changes]
        async with running(*orders) as workers:
            yield workers

    async def ended(self, batch_id: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Wait until the batch has ended."""

        async def has_ended() -> bool:
            return (await self.watch.state(batch_id))[0] not in UNFINISHED

        await until(has_ended, seconds=seconds)

    async def some_finished(self, batch_id: str) -> None:
        """Wait until the first results are known and more are to come."""

        async def have_some() -> bool:
            return any(chunk.completed for chunk in await self.farm.chunks(batch_id))

        await until(have_some)

    def times_asked(self) -> Counter[str]:
        """Count how often each line was asked."""
        return times_asked(self.order.room)

    def repeated(self) -> int:
        """Count how often a line was asked in vain."""
        asked = self.times_asked()
        return asked.total() - len(asked)

    async def require_all_answered(self, batch_id: str, asked: Sequence[Any]) -> None:
        """Require that the batch is complete: each line has its answer, once."""
        row = await self.farm.row(batch_id)
        assert row.status == "completed", row.errors
        assert (row.total, row.completed, row.failed) == (len(asked), len(asked), 0)
        await self.require_whole(batch_id, asked)

    async def require_whole(self, batch_id: str, asked: Sequence[Any]) -> None:
        """Require what holds of any batch that has ended, and that nothing else is left."""
        await self.farm.check(batch_id, asked)
        for result in (await self.farm.results(batch_id))[0]:
            assert result["response"]["body"]["usage"]["completion_tokens"] > 0
        await self._sweep()
        row = await self.farm.row(batch_id)
        ids = (row.input_file_id, row.output_file_id, row.error_file_id)
        files = {object_key(id) for id in ids if id is not None}
        kept = {info.key async for info in self.farm.store.list(FILES)}
        assert files <= kept
        assert await self.farm.objects(batch_id) == []
        assert len(kept) == await self._count_files()

    async def _sweep(self) -> None:
        """Clear away what a killed worker may leave, as the service does after a while."""
        sessions, store = self.farm.database.sessions, self.farm.store
        sweep = OrphanSweep(
            sessions,
            store,
            StoreOwnership(sessions, store, self.farm.work_dir),
            Metrics(),
            [FILE_OBJECTS, BATCH_OBJECTS],
            grace_seconds=GRACE_SECONDS,
            clock=lambda: time.time() + 2 * GRACE_SECONDS,
        )
        for _ in range(2):  # the first one only suspects
            await sweep.sweep()

    async def _count_files(self) -> int:
        async with self.farm.database.sessions() as session:
            return await session.scalar(select(func.count()).select_from(FileRow)) or 0


@asynccontextmanager
async def open_scene(url: str, root: Path, order: Order) -> AsyncIterator[Scene]:
    """Open a scene in a new directory, on an empty database of its own."""
    room = root / "workers"
    room.mkdir(parents=True)
    database = Database(url)
    try:
        farm = await Farm.open(database, root)
        settings = {**QUICK, **order.settings}
        objects = root / "objects"
        order = replace(order, database_url=url, store=objects, room=room, settings=settings)
        async with Watch(url) as watch:
            yield Scene(farm, order, watch)
    finally:
        await database.close()
