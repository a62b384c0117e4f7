"""Background tasks with a name, shared by callers that may each be cancelled.

A name has one task at a time. A task is held until it ends, and its exception is always seen.
"""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class SharedTasks:
    """Tasks by name."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def begin(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the running task of this name, or start `work`."""
        task = self._tasks.get(name)
        if task is None or task.done():  # done, but its callback has still to run
            task = self._tasks[name] = asyncio.create_task(work())
            task.add_done_callback(lambda done: self._end(name, done))
        return task

    def find(self, *names: Hashable) -> list[asyncio.Task[Any]]:
        """Return those that are running."""
        return [self._tasks[name] for name in names if name in self._tasks]

    async def cancel(self, *names: Hashable) -> int:
        """Cancel those that are running, wait until they have ended, and return their number."""
        for task in (running := self.find(*names)):
            task.cancel()
        if running:
            await asyncio.wait(running)
        return len(running)

    async def close(self) -> None:
        """Cancel all and wait until they have ended."""
        while self._tasks:
            await self.cancel(*self._tasks)

    def _end(self, name: Hashable, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled():
            task.exception()
