"""Waits for what only the database, the store or another process can tell."""

import asyncio
from collections.abc import Awaitable, Callable

WAIT_SECONDS = 120.0


async def until(
    is_true: Callable[[], Awaitable[bool]],
    *,
    seconds: float = WAIT_SECONDS,
    every_seconds: float = 0.02,
) -> None:
    """Return when it is true. **Raises:** TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            if await is_true():
                return
            await asyncio.sleep(every_seconds)
