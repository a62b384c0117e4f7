"""Where charges are counted: in shared counters while they answer, else in this process's memory.

A server of limits that is down must never take the service down with it. Until it answers again
each process admits a whole budget of its own, and asks the server anew every few seconds, with one
request at a time.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from app.limits.counters import Addition, Counters, CountersUnavailable, MemoryCounters

log = structlog.get_logger()


class LimitObserver(Protocol):
    """What hears of failures, for metrics."""

    def limit_storage_failed(self) -> None:
        """Count a call to the shared counters that failed."""


class FailoverCounters:
    """Shared counters, if any, backed by local ones. `clock` counts seconds, never back."""

    def __init__(
        self,
        shared: Counters | None,
        local: MemoryCounters,
        observer: LimitObserver,
        *,
        retry_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared = shared
        self._local = local
        self._observer = observer
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._retry_at: float | None = None

    async def charge(self, additions: Sequence[Addition]) -> tuple[Counters, list[int]]:
        """Change counters; return the place where that was done, and the new counts."""
        # Nothing to change proves nothing about the server.
        if additions and self._shared is not None and self._may_ask():
            counts = await self._ask(self._shared, additions)
            if counts is not None:
                return self._shared, counts
        return self._local, await self._local.add(additions)

    async def correct(self, place: Counters, additions: Sequence[Addition]) -> list[int] | None:
        """Change counters in the place that was charged; None, if it does not answer now."""
        if not additions or place is self._local:
            return await self._local.add(additions)
        return None if self._retry_at is not None else await self._ask(place, additions)

    async def close(self) -> None:
        """Let go of connections and counts."""
        if self._shared is not None:
            await self._shared.close()
        await self._local.close()

    def _may_ask(self) -> bool:
        if self._retry_at is None:
            return True
        now = self._clock()
        if now < self._retry_at:
            return False
        # Of all that come while the answer is awaited, only this one asks.
        self._retry_at = now + self._retry_seconds
        return True

    async def _ask(self, shared: Counters, additions: Sequence[Addition]) -> list[int] | None:
        is_probe = self._retry_at is not None
        try:
            counts = await shared.add(additions)
        except CountersUnavailable as error:
            self._failed(error)
            return None
        if is_probe and self._retry_at is not None:
            self._retry_at = None
            log.warning("rate limit storage answers again")
        return counts

    def _failed(self, error: CountersUnavailable) -> None:
        self._observer.limit_storage_failed()
        if self._retry_at is None:
            log.error("rate limit storage fails; limits count in each process", reason=str(error))
        self._retry_at = self._clock() + self._retry_seconds
