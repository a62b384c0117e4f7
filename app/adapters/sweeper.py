"""Removes what no row names: artifacts in the store, weights in this replica's engines and disk.

A crash at any step of a registration or a deletion leaves such things behind, and a deletion on
another replica leaves copies here. An artifact goes when its id is older than the grace, two sweeps
of this process have found it without a row, and the store belongs to this database: so neither a
clock that is wrong, nor a long registration, nor a server with the wrong database loses anything.
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
from adapters_registry.types import AdapterVersion, Digest
from app.adapters import repository
from app.adapters.ownership import StoreOwnership
from app.ids import made_at

T = TypeVar("T")
log = structlog.get_logger()

UNUSED_SECONDS = 60.0
"""Longer than a registration takes from the canary to the row, or its weights are fetched again."""
DISCARD_SECONDS = 1.0
"""How long a sweep waits for one version; the discarding goes on by itself."""
MAX_IDS = 500


class ForeignStore(Exception):
    """The object store belongs to another database: nothing in it may be removed."""


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
        ownership: StoreOwnership,
        *,
        grace_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._cache = cache
        self._registry = registry
        self._observer = observer
        self._ownership = ownership
        self._suspects: set[str] = set()
        self._grace_seconds = grace_seconds
        self._clock = clock

    async def sweep_store(self) -> None:
        """Remove the orphans that the last sweep saw too; remember the others.

        **Raises:** ForeignStore, StoreError.
        """
        if not await self._ownership.is_ours():
            raise ForeignStore("the object store has the mark of another database")
        orphans = await self._orphans()
        for id in sorted(orphans & self._suspects):
            await unpublish(self._store, id)
            self._observer.swept("artifact", 1)
            log.info("orphaned artifact removed", id=id)
        self._suspects = orphans - self._suspects

    async def _orphans(self) -> set[str]:
        listed = {info.key.split("/")[1] async for info in self._store.list(ARTIFACTS)}
        oldest = self._clock() - self._grace_seconds
        aged = sorted(id for id in listed if _is_before(id, oldest))
        orphans = set(aged)
        for ids in _chunks(aged):
            async with self._sessions() as session:
                orphans -= await repository.stored(session, ids)
        return orphans

    async def sweep_replica(self) -> None:
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


def _is_before(id: str, time: float) -> bool:
    made = made_at(id, "ft")
    return made is not None and made < time


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MAX_IDS):
        yield items[start : start + MAX_IDS]
