"""Removes from this replica's engines and disk the weights that no row names any more.

A deletion on another replica, or a crash in the middle of one, leaves copies here.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.cache import DiskCache
from adapters_registry.registry import AdapterRegistry
from adapters_registry.types import AdapterVersion, Digest
from app.adapters import repository
from app.storage.orphans import SweepObserver

UNUSED_SECONDS = 60.0
"""Longer than a registration takes from the canary to the row, or its weights are fetched again."""
DISCARD_SECONDS = 1.0
"""How long a sweep waits for one version; the discarding goes on by itself."""
MAX_IDS = 500


class Sweeper:
    """One replica's sweeps of itself."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        cache: DiskCache,
        registry: AdapterRegistry,
        observer: SweepObserver,
    ) -> None:
        self._sessions = sessions
        self._cache = cache
        self._registry = registry
        self._observer = observer

    async def sweep(self) -> None:
        """Unload and remove from disk what was unused for a while and has no row any more.

        **Raises:** EngineError.
        """
        residents = {version.digest: version for version in self._registry.residents()}
        for digests in _chunks(await self._cache.unused(UNUSED_SECONDS)):
            async with self._sessions() as session:
                registered = await repository.registered(session, digests)
            for digest in set(digests) - registered:
                if await self._remove(digest, residents.get(digest)):
                    self._observer.swept("replica", 1)

    async def _remove(self, digest: Digest, resident: AdapterVersion | None) -> bool:
        if resident is None:
            return await self._cache.remove(digest)
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                await self._registry.discard(resident)
                return True
        return False


def _chunks(items: Sequence[Digest]) -> Iterator[Sequence[Digest]]:
    for start in range(0, len(items), MAX_IDS):
        yield items[start : start + MAX_IDS]
