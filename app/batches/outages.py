"""Goes on when the object store or the database is down for a while: nothing is given up for it.

What is tried again must be harmless when done twice: an answer that is lost may have been a yes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters_registry.errors import StoreUnavailable
from app.batches.observer import BatchObserver
from app.batches.pauses import Pauses

T = TypeVar("T")
log = structlog.get_logger()

STORE_DOWN = (StoreUnavailable,)
DATABASE_DOWN = (SQLAlchemyError, OSError)
"""Drivers let some errors of the connection through as they are."""


class Patience:
    """Tries again, after a growing pause, for as long as the caller waits."""

    def __init__(self, observer: BatchObserver, pauses: Pauses) -> None:
        self._observer = observer
        self._pauses = pauses

    async def with_store(self, task: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that asks the store and local disk, whose errors are raised."""
        return await self._until_done(task, work, STORE_DOWN)

    async def with_database(self, task: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that asks the database alone."""
        return await self._until_done(task, work, DATABASE_DOWN)

    async def with_both(self, task: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do work that asks both, and may use local disk."""
        return await self._until_done(task, work, STORE_DOWN + DATABASE_DOWN)

    async def rest(self) -> None:
        """Wait for the longest pause, before others are to try what fails here."""
        await asyncio.sleep(self._pauses.longest)

    async def _until_done(
        self, task: str, work: Callable[[], Awaitable[T]], down: tuple[type[Exception], ...]
    ) -> T:
        pauses = self._pauses.each()
        while True:
            try:
                return await work()
            except down as error:
                self._observer.background_failed(task)
                log.warning("batch work waits", task=task, exc_info=error)
            await asyncio.sleep(next(pauses))
