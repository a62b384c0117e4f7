"""A process that is killed before its n-th call of the store or the database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import event

from adapters_registry.directory import DirectoryStore
from adapters_registry.threads import finish
from adapters_registry.types import ObjectInfo
from app.db.engine import Database

STATEMENTS = ("before_cursor_execute", "commit")


class Killed(Exception):
    """The process is gone: this call and all that follow do nothing."""


class MortalStore(DirectoryStore):
    """A directory store of a process that may be killed."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.step: Callable[..., None] = lambda *_: None

    async def put(self, key: str, source: Path) -> None:
        self.step()
        await super().put(key, source)

    async def delete(self, key: str) -> None:
        self.step()
        # One that is cancelled has ended before its caller goes on, as in any object store.
        await finish(asyncio.ensure_future(super().delete(key)), lambda: None)

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        self.step()
        async for info in super().list(prefix):
            yield info

    async def tidy(self, older_than_seconds: float) -> None:
        self.step()
        await super().tidy(older_than_seconds)


@contextmanager
def killed_at(step: int, database: Database, store: MortalStore) -> Iterator[None]:
    """Let the n-th call and all that follow fail, without any effect."""
    taken = 0

    def take(*_: object) -> None:
        nonlocal taken
        taken += 1
        if taken >= step:
            raise Killed

    store.step = take
    for name in STATEMENTS:
        event.listen(database.engine.sync_engine, name, take)
    try:
        yield
    finally:
        for name in STATEMENTS:
            event.remove(database.engine.sync_engine, name, take)
        store.step = lambda *_: None


async def survives(
    step: int, database: Database, store: MortalStore, deed: Callable[[], Awaitable[object]]
) -> bool:
    """Do the deed in a process that is killed at a step; tell whether it got through."""
    with killed_at(step, database, store):
        try:
            await deed()
        except Killed:
            return False
    return True
