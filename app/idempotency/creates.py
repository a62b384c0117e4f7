"""Makes one object for a key, however often and wherever the request arrives.

The first request creates, the others wait for it and answer with what it made. A failure frees the
key and is not kept: the next request tries anew. Here are waiting and leases; that there is but one
object is the database's doing, see `claim.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.idempotency.claim import LEASE_SECONDS, NO_CLAIM, Claim, KeyClaim
from app.idempotency.errors import key_in_use, key_reused, object_deleted
from app.idempotency.repository import Held
from app.idempotency.request import CreateRequest

T = TypeVar("T")
log = structlog.get_logger()

WAIT_SECONDS = 30.0
"""How long a request waits for an earlier one with its key."""
LOOK_SECONDS = 0.25
"""How often it looks whether another process has finished; one's own tells at once."""


class KeyedCreates:
    """Runs the creates of a resource. Organisations' keys never meet; resources' do."""

    def __init__(
        self, sessions: async_sessionmaker[AsyncSession], *, wait_seconds: float = WAIT_SECONDS
    ) -> None:
        self._sessions = sessions
        self._wait_seconds = wait_seconds
        self._running: dict[tuple[str, str | None], asyncio.Event] = {}

    async def once(
        self,
        request: CreateRequest,
        create: Callable[[Claim], Awaitable[T]],
        find: Callable[[str], Awaitable[T | None]],
    ) -> T:
        """Create the object, or find what the key has made.

        `create` must call `claim.record` in the transaction that makes the object. A request
        without a key creates. **Raises:** ApiError 409, and what `create` and `find` raise.
        """
        if request.key is None:
            return await create(NO_CLAIM)
        claim = KeyClaim(self._sessions, request)
        held = await self._settled(request, claim)
        if held is not None and claim.is_held_by(held):
            async with self._owned(request, claim):
                return await create(claim)
        object_id = _made(request, held)
        found = await find(object_id)
        if found is None:
            raise object_deleted(object_id)
        return found

    async def _settled(self, request: CreateRequest, claim: KeyClaim) -> Held | None:
        """Take the key or wait until it is clear what became of it, or the time is over."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._wait_seconds
        while True:
            held = await _taken(claim)
            if held is not None and (
                claim.is_held_by(held) or held.object_id or held.fingerprint != request.fingerprint
            ):
                return held
            if (left := ends_at - loop.time()) <= 0:
                return held
            await self._next_look(request, left)

    async def _next_look(self, request: CreateRequest, seconds: float) -> None:
        ended = self._running.get((request.org_id, request.key))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds if ended else min(seconds, LOOK_SECONDS)):
                await (ended or asyncio.Event()).wait()

    @asynccontextmanager
    async def _owned(self, request: CreateRequest, claim: KeyClaim) -> AsyncIterator[None]:
        name, ended = (request.org_id, request.key), asyncio.Event()
        self._running[name] = ended
        renewal = asyncio.create_task(_renew(claim))
        try:
            yield
        except BaseException:
            await _give_up(claim)
            raise
        finally:
            if self._running.get(name) is ended:
                del self._running[name]
            ended.set()
            renewal.cancel()
            await asyncio.wait([renewal])


def _made(request: CreateRequest, held: Held | None) -> str:
    if held is not None and held.fingerprint != request.fingerprint:
        raise key_reused()
    if held is None or held.object_id is None:
        raise key_in_use()
    return held.object_id


async def _taken(claim: KeyClaim) -> Held | None:
    try:
        return await claim.take()
    except BaseException:
        # Also when cancelled: the commit may have been made.
        await _give_up(claim)
        raise


async def _renew(claim: KeyClaim) -> None:
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        try:
            await claim.extend()
        except (SQLAlchemyError, OSError) as error:
            log.warning("idempotency claim not extended", error=type(error).__name__)


async def _give_up(claim: KeyClaim) -> None:
    try:
        # Also when cancelled; else a retry waits for the lease to end.
        await asyncio.shield(claim.give_up())
    except (SQLAlchemyError, OSError) as error:
        log.warning("idempotency claim left to its lease", error=type(error).__name__)
