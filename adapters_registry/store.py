"""The object store as the service sees it: whole immutable objects under slash-separated keys."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from adapters_registry.types import ObjectInfo


class ObjectStore(Protocol):
    """Keys are `[A-Za-z0-9._/-]`, never absolute, without `.` or `..` parts.

    Every method may raise StoreUnavailable; none blocks the event loop. An object is seen whole or
    not at all: a put that fails or is cancelled leaves what was there before.
    """

    async def put(self, key: str, source: Path) -> None:
        """Store a local file under `key`, replacing what is there."""
        ...

    async def get(self, key: str, destination: Path) -> None:
        """Write the whole object to a local file. **Raises:** ObjectNotFound."""
        ...

    def read(self, key: str, *, chunk_bytes: int = 1 << 20) -> AsyncIterator[bytes]:
        """Stream the object. **Raises:** ObjectNotFound, before the first chunk."""
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix` (which ends in `/`), in key order."""
        ...

    async def check(self) -> None:
        """Return when the store is reachable and usable."""
        ...

    async def close(self) -> None:
        """Release threads and connections."""
        ...
