"""Waiting for blocking work from asyncio without ever leaving it to run on unseen."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def finish(work: asyncio.Future[T], interrupt: Callable[[], object]) -> T:
    """Return the result of work in a thread, and outlive a cancellation of the caller.

    Cancellation calls `interrupt` and then waits for the thread to end: until then it may still
    write. A second cancellation does not wait.
    """
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        interrupt()
        work.add_done_callback(_see)
        await asyncio.wait([work])
        raise


def _see(work: asyncio.Future[T]) -> None:
    """Look at what nobody waits for any more, else asyncio logs it as lost."""
    if not work.cancelled():
        work.exception()
