"""Removes what no row names: artifacts in the store, weights in this replica's engines and disk.

A crash at any step of a registration or a deletion leaves such things behind, and a deletion on
another replica leaves copies here. The age of an artifact is in its id, so the store's clock and
that of the database do not matter.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.artifacts import ARTIFACTS, unpublish
from adapters_registry.cache import DiskCache
from adapters_registry.registry import AdapterRegistry
from adapters_registry.store import ObjectStore
from app.adapters import repository
from app.ids import made_at

T = TypeVar("T")
log = structlog.get_logger()

UNUSED_SECONDS = 60.0
"""Longer than a registration takes from the canary to the row, or its weights are fetched again."""
DISCARD_SECONDS = 1.0
"""How long a sweep waits for one version; the discarding goes on by itself."""
MAX_IDS = 500


class SweepObserver(Protocol):
    """Is told how many things a sweep removed; `kind` is `artifact` or `replica`."""

    def swept(self, kind: str, count: int) -> None: ...


class Sweeper:
    """One replica's sweeps; any number of replicas may sweep at once."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        cache: DiskCache,
        registry: AdapterRegistry,
        observer: SweepObserver,
        *,
        grace_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._cache = cache
        self._registry = registry
        self._observer = observer
        self._grace_seconds = grace_seconds
        self._clock = clock

    async def sweep_store(self) -> None:
        """Remove artifacts that are older than the grace and have no row.

        **Raises:** StoreUnavailable.
        """
        listed = {info.key.split("/")[1] async for info in self._store.list(ARTIFACTS)}
        oldest = self._clock() - self._grace_seconds
        for ids in _chunks(sorted(id for id in listed if _is_before(id, oldest))):
            async with self._sessions() as session:
                needed = await repository.stored(session, ids)
            for id in set(ids) - needed:
                await unpublish(self._store, id)
                self._observer.swept("artifact", 1)
                log.info("orphaned artifact removed", id=id)

    async def sweep_replica(self) -> None:
        """Unload and remove from disk what was unused for a while and has no row any more.

        **Raises:** EngineError.
        """
        residents = {version.digest: version for version in self._registry.residents()}
        for digests in _chunks(await self._cache.unused(UNUSED_SECONDS)):
            async with self._sessions() as session:
                registered = await repository.registered(session, digests)
            for digest in digests:
                if digest in registered:
                    continue
                if (version := residents.get(digest)) is None:
                    await self._cache.remove(digest)
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(DISCARD_SECONDS):
                            await self._registry.discard(version)
                self._observer.swept("replica", 1)


def _is_before(id: str, time: float) -> bool:
    made = made_at(id, "ft")
    return made is not None and made < time


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MAX_IDS):
        yield items[start : start + MAX_IDS]
