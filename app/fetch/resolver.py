"""Names to addresses, by the machine's own resolver, in threads of its own.

A name server that never answers holds a thread for as long as the system's resolver waits; here it
can hold no thread that other work needs.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host and a port and returns addresses, the preferred one first. **Raises:** OSError."""

THREADS = 8


class SystemResolver:
    """Asks getaddrinfo. Ended by `close`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _addresses, host, port)

    def close(self) -> None:
        """Give the threads back; look-ups that have begun end in their own time."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]
