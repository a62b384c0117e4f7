"""An event loop in which equal steps always interleave in the same way.

Blocking work runs in line, and the clock moves only when it is told to.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class InlineExecutor(ThreadPoolExecutor):
    """Does the work when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class StillLoop(asyncio.SelectorEventLoop):
    """To be run from outside, some ticks at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.set_default_executor(InlineExecutor())

    def time(self) -> float:
        return self.now

    def tick(self, count: int) -> None:
        """Let everything that can go on do so, so many times."""
        self.run_until_complete(_ticks(count))

    def end(self, *tasks: asyncio.Task[Any], ticks: int = 5000) -> None:
        """Run until the tasks have ended; they must within so many ticks."""
        for _ in range(0, ticks, 50):
            if all(task.done() for task in tasks):
                return
            self.tick(50)
        raise AssertionError([task for task in tasks if not task.done()])


async def _ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
