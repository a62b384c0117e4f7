"""Adds up what the requests of this process use, and brings the sums to the database now and then.

Each flush has the process's token and a number, which are written in the same transaction: one
whose commit was made and whose answer was lost is known when it is tried again, and is not added
twice. What cannot be brought stays here, at most so many sums: beyond them requests are counted
without key and adapter, which is told, and nothing of the totals is lost.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol
from uuid import uuid4

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.usage import repository
from app.usage.tally import Tally
from app.usage.types import Account, Amounts, Sums

log = structlog.get_logger()

MOST_SUMS = 20_000
"""Sums in memory, about 12 MB: usual are as many as adapters are asked in a few seconds."""
LAST_FLUSH_SECONDS = 10.0
UNKNOWN = "(unknown)"
"""Stands for key and adapter of requests that were counted without them."""


class UsageObserver(Protocol):
    """Is told of requests that are counted without key and adapter."""

    def usage_without_detail(self, requests: int) -> None: ...


class _Flush(NamedTuple):
    number: int
    sums: Sums


class UsageRecorder:
    """The ledger of a process. `clock` counts Unix seconds."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        observer: UsageObserver,
        *,
        most_sums: int = MOST_SUMS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._observer = observer
        self._most_sums = most_sums
        self._tally = Tally(clock)
        self._process = uuid4().hex
        self._number = 0
        self._unwritten: _Flush | None = None
        self._turn = asyncio.Lock()
        self._is_full = False

    def record(self, account: Account, amounts: Amounts) -> None:
        """Add what one request has used."""
        entry = self._tally.entry(account)
        if len(self._tally) >= self._most_sums and not self._tally.has(entry):
            self._tell_full(amounts.requests)
            entry = entry._replace(account=account._replace(key_id=UNKNOWN, adapter=UNKNOWN))
        self._tally.add(entry, amounts)

    async def flush(self) -> None:
        """Bring everything to the database; what fails, or is cancelled, is kept for the next time.

        **Raises:** SQLAlchemyError, OSError.
        """
        async with self._turn:
            await self._write()
            if len(self._tally):
                self._number += 1
                self._unwritten = _Flush(self._number, self._tally.taken())
                await self._write()
            self._is_full = False

    async def close(self) -> None:
        """Flush for the last time, once nothing is recorded any more; tell if it cannot be done."""
        try:
            async with asyncio.timeout(LAST_FLUSH_SECONDS):
                await self.flush()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log.error("usage lost", requests=self._requests(), exc_info=error)

    async def _write(self) -> None:
        if (flush := self._unwritten) is None:
            return
        async with self._sessions.begin() as session:
            if await repository.begin_flush(session, self._process, flush.number):
                await repository.add(session, flush.sums)
        self._unwritten = None

    def _requests(self) -> int:
        unwritten = () if self._unwritten is None else self._unwritten.sums.values()
        return sum(amounts.requests for amounts in (*unwritten, *self._tally.sums.values()))

    def _tell_full(self, requests: int) -> None:
        self._observer.usage_without_detail(requests)
        if not self._is_full:
            self._is_full = True
            log.error("usage is counted without key and adapter", sums=len(self._tally))
