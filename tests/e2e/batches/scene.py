"""A database, a store and batches for worker processes, and what must hold when they are done."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg

from app.batches.orphans import BATCH_OBJECTS
from app.batches.types import UNFINISHED
from app.db.engine import Database
from app.files.orphans import FILE_OBJECTS
from app.observability.metrics import Metrics
from app.storage.orphans import OrphanSweep
from app.storage.ownership import StoreOwnership
from tests.app.batches.farm import Farm
from tests.e2e.batches.worker_process import CHAT, Order, S3At
from tests.e2e.batches.workers import times_asked
from tests.fixtures.server import TINY

WAIT_SECONDS = 120.0
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
    """Looks at a batch's row often and without being in the workers' way."""

    def __init__(self, url: str) -> None:
        self._path = url.removeprefix("sqlite+aiosqlite:///") if "sqlite" in url else None
        self._url = url
        self._sqlite: sqlite3.Connection | None = None
        self._postgres: Any = None

    async def open(self) -> None:
        if self._path is not None:
            self._sqlite = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        else:
            self._postgres = await asyncpg.connect(self._url)

    async def close(self) -> None:
        if self._sqlite is not None:
            self._sqlite.close()
        if self._postgres is not None:
            await self._postgres.close()

    async def batch(self, batch_id: str) -> tuple[str, str | None]:
        """Return status and token."""
        query = f"SELECT status, token FROM batches WHERE id = '{batch_id}'"
        if self._sqlite is not None:
            found: tuple[str, str | None] = self._sqlite.execute(query).fetchone()
            return found
        row = await self._postgres.fetchrow(query)
        return row["status"], row["token"]


class Scene(Farm):
    """A farm whose workers are processes."""

    url: str
    room: Path
    order: Order
    watch: Watch

    @classmethod
    async def make(cls, url: str, root: Path, order: Order) -> "Scene":
        """Open a scene in a new directory; `order` is what all workers' orders begin with."""
        root.mkdir(parents=True, exist_ok=True)
        database = Database(url)
        scene = await Farm.open.__func__(cls, database, root)  # type: ignore[attr-defined]
        scene.url, scene.room = url, root / "workers"
        scene.room.mkdir()
        settings = {**QUICK, **order.settings}
        objects = root / "objects"
        scene.order = replace(
            order, database_url=url, store=objects, room=scene.room, settings=settings
        )
        scene.watch = Watch(url)
        await scene.watch.open()
        return scene  # type: ignore[no-any-return]

    async def close(self) -> None:
        await self.watch.close()
        await self.database.close()
