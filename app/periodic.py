"""Work that is done again and again as long as the process lives, whatever happens to it once."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

log = structlog.get_logger()

Work = Callable[[], Awaitable[None]]
JITTER = 0.1
"""So that replicas that start together do not go on together."""


class FailureObserver(Protocol):
    """Is told of each kind of work as it begins, and of each failure."""

    def background_begun(self, task: str) -> None: ...

    def background_failed(self, task: str) -> None: ...


class PeriodicTasks:
    """Owns one asyncio task for each kind of work."""

    def __init__(self, observer: FailureObserver) -> None:
        self._observer = observer
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, name: str, work: Work, *, every_seconds: float) -> None:
        """Do the work now, and so long after each end again."""
        self._observer.background_begun(name)
        self._tasks.add(asyncio.create_task(self._repeat(name, work, every_seconds), name=name))

    async def close(self) -> None:
        """Cancel all, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    async def _repeat(self, name: str, work: Work, seconds: float) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                # Any part may be down for a while; the next time it may be there again.
                self._observer.background_failed(name)
                log.warning("background work failed", task=name, exc_info=error)
            await asyncio.sleep(seconds * random.uniform(1 - JITTER, 1 + JITTER))
