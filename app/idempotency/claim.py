"""The right to make the one object of a key.

It is a lease, which its owner may lose by stalling. What makes the object unique is that it and its
id in the claim are written in one transaction, which fails once another attempt has the key.
"""

from typing import Protocol
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.idempotency import repository
from app.idempotency.errors import key_in_use
from app.idempotency.repository import Claimed, Held
from app.idempotency.request import CreateRequest

LEASE_SECONDS = 30


class Claim(Protocol):
    """What a create does with its claim."""

    async def record(self, session: AsyncSession, object_id: str) -> None:
        """Note the object in the transaction that makes it.

        **Raises:** ApiError 409 where the claim is lost; the transaction must not be committed.
        """
        ...

    async def give_up(self) -> bool:
        """Free the key after a failure; True if the object was made all the same and stays."""
        ...


class NoClaim:
    """Of a request without a key: what fails is taken back, whatever was committed."""

    async def record(self, session: AsyncSession, object_id: str) -> None:
        return None

    async def give_up(self) -> bool:
        return False


NO_CLAIM = NoClaim()


class KeyClaim:
    """One attempt at a key, in the database that all replicas share."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], request: CreateRequest) -> None:
        assert request.key is not None
        self._sessions = sessions
        self._claimed = Claimed(request.org_id, request.key, uuid4().hex)
        self._fingerprint = request.fingerprint

    async def take(self) -> Held | None:
        """Claim the key if nobody does; return who holds it now, None if that is unsettled."""
        async with self._sessions.begin() as session:
            return await repository.take(
                session, self._claimed, self._fingerprint, lease_seconds=LEASE_SECONDS
            )

    def is_held_by(self, held: Held) -> bool:
        """Tell whether it is this attempt that holds the key."""
        return held.token == self._claimed.token

    async def extend(self) -> None:
        """Start the lease anew."""
        async with self._sessions.begin() as session:
            await repository.extend(session, self._claimed, lease_seconds=LEASE_SECONDS)

    async def record(self, session: AsyncSession, object_id: str) -> None:
        if not await repository.complete(session, self._claimed, object_id):
            raise key_in_use()

    async def give_up(self) -> bool:
        async with self._sessions.begin() as session:
            return await repository.free(session, self._claimed)
