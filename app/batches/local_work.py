"""Work on local disk: off the event loop, in a directory that is gone when the work has ended."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from typing import TypeVar
from uuid import uuid4

from adapters_registry.threads import finish

T = TypeVar("T")
IsStopped = Callable[[], bool]

WORK_BYTES = 64 << 10
PAUSE_SECONDS = 100e-6
"""Reading JSON holds the interpreter: every so many bytes, others get their turn."""


async def in_thread(work: Callable[[IsStopped], T]) -> T:
    """Run work that blocks; a cancelled caller tells it so and waits until it has ended."""
    stop = Event()
    return await finish(asyncio.ensure_future(asyncio.to_thread(work, stop.is_set)), stop.set)


@asynccontextmanager
async def work_directory(parent: Path) -> AsyncIterator[Path]:
    """Have an empty directory until the block ends. **Raises:** OSError."""
    path = parent / f"batch-{uuid4().hex}"
    try:
        await in_thread(lambda _: path.mkdir(mode=0o700))
        yield path
    finally:
        await in_thread(lambda _: shutil.rmtree(path, ignore_errors=True))
