"""The object store as the service sees it: whole immutable objects under slash-separated keys.

It also owns the one rule for keys. A key that breaks it is a bug of the caller: ValueError.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from adapters_registry.types import ObjectInfo

MAX_KEY_CHARACTERS = 900
"""S3 ends at 1,024 bytes; the rest is room for a store's own prefix."""

_PART = re.compile(r"[A-Za-z0-9._-]{1,200}")


def is_key(key: str) -> bool:
    """Tell whether `key` may name an object."""
    parts = key.split("/")
    return len(key) <= MAX_KEY_CHARACTERS and all(
        _PART.fullmatch(part) and part not in {".", ".."} for part in parts
    )


def check_key(key: str) -> str:
    """Return `key` if it may name an object. **Raises:** ValueError."""
    if not is_key(key):
        raise ValueError(f"not an object key: {key[:200]!a}")
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if it is a key and a closing slash. **Raises:** ValueError."""
    if not prefix.endswith("/") or not is_key(prefix[:-1]):
        raise ValueError(f"not an object prefix: {prefix[:200]!a}")
    return prefix


def check_range(start: int, length: int | None) -> None:
    """Return if these may be the start and the length of a range. **Raises:** ValueError."""
    if start < 0 or (length is not None and length < 0):
        raise ValueError(f"not a range of bytes: {start}, {length}")


class ObjectWriter(Protocol):
    """Takes the bytes of one object as they come, from one task."""

    async def write(self, data: bytes) -> None:
        """Add bytes; waits where they come faster than the store takes them.

        **Raises:** StoreUnavailable, maybe for bytes of an earlier call.
        """
        ...

    async def commit(self) -> None:
        """Put the object in place, replacing what is there; nothing may be written afterwards.

        One that fails or is cancelled may have put it in place. **Raises:** StoreUnavailable.
        """
        ...


class ObjectStore(Protocol):
    """Keys are `[A-Za-z0-9._/-]`, never absolute, without empty, `.` or `..` parts.

    Every method may raise StoreUnavailable, and ValueError for a key that breaks the rule; none
    blocks the event loop. An object is seen whole or not at all: a put that fails or is cancelled
    leaves what was there before, unless it was cancelled after the object was already in place.
    A cancelled call returns when its thread has ended, so its files are free again.
    """

    async def put(self, key: str, source: Path) -> None:
        """Store a local file under `key`, replacing what is there.

        **Raises:** OSError where the local file cannot be read.
        """
        ...

    async def get(self, key: str, destination: Path) -> None:
        """Write the object to a local file, which ends up whole or absent.

        **Raises:** ObjectNotFound; ObjectCorrupt where the store's own checksum tells so.
        """
        ...

    def writer(self, key: str) -> AbstractAsyncContextManager[ObjectWriter]:
        """Open a new object whose size is not known yet; it is seen once it is committed.

        A block that ends without a commit, however it ends, leaves what was there before. Little of
        the object is in memory at a time.
        """
        ...

    def read(
        self, key: str, *, start: int = 0, length: int | None = None, chunk_bytes: int = 1 << 20
    ) -> AsyncIterator[bytes]:
        """Stream the object, or what it has of `length` bytes from `start` on.

        **Raises:** ObjectNotFound, before the first chunk; ObjectCorrupt, after the last of a whole
        object, where the store's own checksum tells so; ValueError for a negative range.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; a missing one is no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        """Yield every object whose key starts with `prefix` (which ends in `/`), in key order.

        Objects of others whose names are no keys are left out.
        """
        ...

    async def tidy(self, older_than_seconds: float) -> None:
        """Remove what killed processes have left half-written and is older than that.

        What is still being written counts from its beginning, or from its latest write. In a bucket
        these are the multipart uploads below the store's prefix, whoever began them.
        """
        ...

    async def check(self) -> None:
        """Return when the store is reachable and usable."""
        ...

    async def close(self) -> None:
        """Release threads and connections."""
        ...
