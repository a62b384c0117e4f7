"""Runs the generations of one request next to each other, a few at a time, and joins them.

Whoever reads slowly holds the generations up: what waits for a reader is bounded.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from app.engine.base import Delta

MOST_UNREAD = 64
"""Deltas."""


async def side_by_side(
    runs: Sequence[AsyncGenerator[Delta, None]], *, at_once: int
) -> AsyncGenerator[tuple[int, Delta], None]:
    """Yield each delta with its run's index, as they come. Closing ends all runs.

    A run that fails ends the others. **Raises:** what the first one that fails raises, after the
    deltas that came before.
    """
    unread: asyncio.Queue[tuple[int, Delta] | None] = asyncio.Queue()
    room = asyncio.Semaphore(MOST_UNREAD)
    waiting = iter(enumerate(runs))

    async def work() -> None:
        for index, run in waiting:
            async with aclosing(run):
                async for delta in run:
                    await room.acquire()
                    unread.put_nowait((index, delta))

    async def work_all() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(runs))):
                group.create_task(work())

    working = asyncio.create_task(work_all())
    working.add_done_callback(lambda _: unread.put_nowait(None))
    try:
        while (piece := await unread.get()) is not None:
            room.release()
            yield piece
        _end(working)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _end(working: asyncio.Task[None]) -> None:
    try:
        working.result()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
