"""Counters that several processes share, on a Redis or Valkey server, by the library `limits`.

An increment costs this process some 50 us of work, and a burst of requests would make hundreds of
them at once. So one call runs at a time, and what comes meanwhile goes with the next one, a key
that many change as one increment.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from limits.aio.storage import RedisStorage
from limits.errors import StorageError
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.limits.counters import Addition, CountersUnavailable

KEY_PREFIX = "lora-api-limits"
CONNECTIONS = 32
REQUESTS_AT_ONCE = 100


class _Waiting(NamedTuple):
    additions: Sequence[Addition]
    answer: asyncio.Future[list[int]]


class SharedCounters:
    """Counters on a server, which each call waits for no longer than `timeout_seconds`."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        # Both servers speak one protocol; the client library knows the first one's name only.
        url = url.replace("valkey", "redis", 1) if url.startswith("valkey") else url
        self._timeout_seconds = timeout_seconds
        self._pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=timeout_seconds,
            # Once more at once, for a kept connection that the server has closed.
            retry=Retry(NoBackoff(), 1),
        )
        self._storage = RedisStorage(
            url,
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=KEY_PREFIX,
            # Passed on to the client as it is, whatever the annotation says.
            connection_pool=self._pool,  # type: ignore[arg-type]
        )
        self._waiting: deque[_Waiting] = deque()
        self._sender: asyncio.Task[None] | None = None

    async def add(self, additions: Sequence[Addition]) -> list[int]:
        """Change the counters. Cancelled before it is sent, a change is not made."""
        answer: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(additions, answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return await answer

    async def close(self) -> None:
        """Close the connections; what still waits fails."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait([self._sender])
        await self._pool.aclose()

    async def _send_all(self) -> None:
        batch: list[_Waiting] = []
        reason = "Closed"
        try:
            while self._waiting:
                number = min(len(self._waiting), REQUESTS_AT_ONCE)
                batch = [self._waiting.popleft() for _ in range(number)]
                await self._send([waiting for waiting in batch if not waiting.answer.done()])
        except StorageError as error:
            reason = type(error.__cause__).__name__
        except OSError as error:
            reason = type(error).__name__
        finally:
            self._sender = None
            # Whoever waits behind a call that failed has waited long enough.
            for waiting in (*batch, *self._waiting):
                if not waiting.answer.done():
                    waiting.answer.set_exception(CountersUnavailable(reason))
            self._waiting.clear()

    async def _send(self, batch: Sequence[_Waiting]) -> None:
        amounts: Counter[str] = Counter()
        seconds: dict[str, int] = {}
        for addition in (addition for waiting in batch for addition in waiting.additions):
            amounts[addition.key] += addition.amount
            seconds[addition.key] = addition.seconds
        async with asyncio.timeout(self._timeout_seconds):
            changes = (self._storage.incr(key, seconds[key], amounts[key]) for key in seconds)
            answers = await asyncio.gather(*changes, return_exceptions=True)
        counts = dict(zip(seconds, map(_count, answers), strict=True))
        before = {key: counts[key] - amounts[key] for key in counts}
        for waiting in batch:
            _answer(waiting, before)


def _answer(waiting: _Waiting, counts: dict[str, int]) -> None:
    """Tell one of those who went together what it would have been told alone, after the others."""
    told = []
    for addition in waiting.additions:
        counts[addition.key] += addition.amount
        told.append(counts[addition.key])
    if not waiting.answer.done():
        waiting.answer.set_result(told)


def _count(answer: int | BaseException) -> int:
    if isinstance(answer, BaseException):
        raise answer
    return answer
