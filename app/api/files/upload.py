"""A file on its way from the network into the object store, hashed as it passes."""

import asyncio
import hashlib
from dataclasses import dataclass

from adapters_registry.store import ObjectWriter


class HashedObject:
    """A sink that writes to the store and takes the SHA-256 of what it writes."""

    def __init__(self, writer: ObjectWriter) -> None:
        self._writer = writer
        self._digest = hashlib.sha256()
        self._hashing: asyncio.Future[None] | None = None

    async def write(self, data: bytes) -> None:
        # The piece is hashed while it is stored and the next one comes.
        await self._hashed()
        loop = asyncio.get_running_loop()
        self._hashing = loop.run_in_executor(None, self._digest.update, data)
        await self._writer.write(data)

    async def sha256(self) -> str:
        """Return the digest of all that was written, in hex."""
        await self._hashed()
        return self._digest.hexdigest()

    async def _hashed(self) -> None:
        if self._hashing is not None:
            await self._hashing


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of which all bytes have come; nobody sees it before `object` is committed.

    `id` is the file's, if it is kept.
    """

    id: str
    filename: str
    purpose: str
    size: int
    sha256: str
    object: ObjectWriter
