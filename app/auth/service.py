"""What an operator does with keys: mint, list, revoke."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from app.auth import repository
from app.auth.errors import InvalidOrganizationName, KeyNotFound
from app.auth.keys import hash_key, new_key
from app.auth.repository import ListedKey

ORGANIZATION_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
KEY_ID = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. `text` exists nowhere else and is left out of the representation."""

    id: str
    org_id: str
    text: str = field(repr=False)


class KeyService:
    """Keys of all organisations; for operators, never for callers of the API."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        pepper: bytes,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._pepper = pepper
        self._clock = clock

    async def create(self, organization: str) -> MintedKey:
        """Mint a key, and its organisation when new. **Raises:** InvalidOrganizationName."""
        if not ORGANIZATION_NAME.fullmatch(organization):
            raise InvalidOrganizationName(organization)
        text, now = new_key(), int(self._clock())
        async with self._sessions.begin() as session:
            org_id = await repository.ensure_organization(session, organization, now=now)
            hash = hash_key(self._pepper, text)
            key_id = await repository.add_key(session, org_id, hash=hash, now=now)
        return MintedKey(id=key_id, org_id=org_id, text=text)

    async def list(self, organization: str | None = None) -> Sequence[ListedKey]:
        """Return all keys, or those of one organisation, oldest first."""
        async with self._sessions() as session:
            return await repository.list_keys(session, name=organization)

    async def revoke(self, key_id: str) -> None:
        """End a key; again is no error. **Raises:** KeyNotFound."""
        if not KEY_ID.fullmatch(key_id):
            raise KeyNotFound(key_id)
        async with self._sessions.begin() as session:
            if not await repository.revoke_key(session, key_id, now=int(self._clock())):
                raise KeyNotFound(key_id)
