"""What deleted versions leave is removed in the background, however long requests still use it."""

import asyncio

import structlog

from app.adapters.publisher import AdapterPublisher
from app.db.tables import FineTuningRow

log = structlog.get_logger()


class Withdrawals:
    """Owns one task for each deleted version; what it cannot end is the sweeper's."""

    def __init__(self, publisher: AdapterPublisher) -> None:
        self._publisher = publisher
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, row: FineTuningRow) -> None:
        """Remove the weights of a deleted row from engine, disk and store; returns at once."""
        task = asyncio.create_task(self._publisher.withdraw(row))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def ended(self) -> None:
        """Wait until all that have begun have ended, well or not."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Stop those that still wait for running requests; the sweeper takes them up."""
        for task in self._tasks:
            task.cancel()
        await self.ended()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("artifact left to the sweeper", exc_info=error)
