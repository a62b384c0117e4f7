"""Ways to stop a piece of work at its n-th step."""

import asyncio
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.util import await_only

from app.db.engine import Database

T = TypeVar("T")

STEPS = ("before_cursor_execute", "commit")
OVERTAKEN_SECONDS = 0.02
"""Time for the cleaning up to overtake a statement, if nothing makes it wait."""


class CancelledAt(Generic[T]):
    """Awaits `work` in the current task, which is cancelled while it is suspended the n-th time."""

    def __init__(self, step: int, work: Coroutine[Any, Any, T]) -> None:
        self._step = step
        self._work = work

    def __await__(self) -> Generator[Any, Any, T]:
        steps, task = self._work.__await__(), asyncio.current_task()
        assert task is not None
        suspended, thrown = 0, None
        while True:
            try:
                awaited = steps.throw(thrown) if thrown else next(steps)
            except StopIteration as end:
                result: T = end.value
                return result
            suspended, thrown = suspended + 1, None
            if suspended == self._step:
                task.cancel()
            try:
                yield awaited
            except BaseException as error:
                thrown = error


async def cancel_at(step: int, work: Coroutine[Any, Any, T]) -> bool:
    """Cancel the work while it is suspended the n-th time; False if it ended before."""

    async def stepping() -> T:
        return await CancelledAt(step, work)

    task = asyncio.create_task(stepping())
    await asyncio.wait([task])
    return task.cancelled()


async def cancel_in_statement(step: int, database: Database, work: Coroutine[Any, Any, T]) -> bool:
    """Cancel the work at the start of its n-th statement or commit, which goes on slowly."""
    task = asyncio.create_task(work)

    def cancel(number: int) -> None:
        if number == step:
            task.cancel()
            await_only(asyncio.sleep(OVERTAKEN_SECONDS))

    with _watched(database, cancel) as taken:
        await asyncio.wait([task])
    return len(taken) >= step


@contextmanager
def dead_from(
    step: int, database: Database, *, on_failure: Callable[[], object] = lambda: None
) -> Iterator[list[int]]:
    """Let the n-th statement or commit and all that follow fail, as if the process were gone.

    Yields the numbers of the steps taken, to tell whether it came so far.
    """

    def die(number: int) -> None:
        if number >= step:
            on_failure()
            raise OperationalError("dead", None, Exception())

    with _watched(database, die) as taken:
        yield taken


@contextmanager
def _watched(database: Database, see: Callable[[int], None]) -> Iterator[list[int]]:
    taken: list[int] = []

    def step(*arguments: object) -> None:
        taken.append(len(taken) + 1)
        see(taken[-1])

    engine = database.engine.sync_engine
    for name in STEPS:
        event.listen(engine, name, step)
    try:
        yield taken
    finally:
        for name in STEPS:
            event.remove(engine, name, step)
