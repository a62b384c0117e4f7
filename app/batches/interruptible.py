"""A block of work that others can end before it has come to its own end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Interruptible:
    """Ended once, it stays so: a block that is entered later ends at its first wait."""

    def __init__(self) -> None:
        self.is_ended = False
        self._timeout: asyncio.Timeout | None = None

    def end(self) -> None:
        """Have the block left now; what runs in it is cancelled. Again is no error."""
        if not self.is_ended:
            self.is_ended = True
            if self._timeout is not None:
                self._timeout.reschedule(asyncio.get_running_loop().time())

    @asynccontextmanager
    async def block(self) -> AsyncIterator[None]:
        """Hold work that ends without an error when it is ended from outside."""
        try:
            async with asyncio.timeout(0 if self.is_ended else None) as self._timeout:
                yield
        except TimeoutError:
            if not self.is_ended:
                raise
        finally:
            self._timeout = None
