"""Who is calling: an Authorization header becomes a Caller, mostly without a query.

Checked keys are remembered for a few seconds, under their hash and never as text, in two bounded
caches: a flood of wrong keys cannot push out the right ones.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.auth import repository
from app.auth.errors import InvalidApiKey
from app.auth.expiring import ExpiringCache
from app.auth.keys import hash_key, is_key_shaped

MAX_HEADER_CHARACTERS = 128
GOOD_KEYS = 10_000
BAD_KEYS = 1_000


@dataclass(frozen=True, slots=True)
class Caller:
    """The organisation behind a request, the key it used, and its plan if not the default."""

    org_id: str
    key_id: str
    plan: str | None = None


class Authenticator:
    """Checks keys; a revoked one is refused `cache_seconds` after its revocation at the latest.

    `clock` counts seconds and never goes back.
    """

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        pepper: bytes,
        cache_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._pepper = pepper
        self._clock = clock
        self._good = ExpiringCache[Caller](GOOD_KEYS, cache_seconds)
        self._bad = ExpiringCache[None](BAD_KEYS, cache_seconds)

    async def authenticate(self, authorization: str | None) -> Caller:
        """Return the caller of a request with this header. **Raises:** InvalidApiKey."""
        hash = hash_key(self._pepper, _bearer(authorization))
        # Taken before the query: an answer is only as fresh as the moment it was asked for.
        now = self._clock()
        if caller := self._good.get(hash, now):
            return caller
        if self._bad.has(hash, now):
            raise InvalidApiKey
        return await self._look_up(hash, now)

    async def _look_up(self, hash: str, now: float) -> Caller:
        async with self._sessions() as session:
            key = await repository.find_active_key(session, hash)
        if key is None or not hmac.compare_digest(key.hash, hash):
            self._bad.put(hash, None, now)
            raise InvalidApiKey
        caller = Caller(org_id=key.org_id, key_id=key.id, plan=key.plan)
        self._good.put(hash, caller, now)
        return caller


def _bearer(authorization: str | None) -> str:
    if authorization is None or len(authorization) > MAX_HEADER_CHARACTERS:
        raise InvalidApiKey
    scheme, _, key = authorization.partition(" ")
    if scheme.lower() != "bearer" or not is_key_shaped(key.strip(" ")):
        raise InvalidApiKey
    return key.strip(" ")
