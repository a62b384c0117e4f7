"""Leases of adapters: a version in use is loaded in its engine and whole on disk.

Owns fetching, loading, unloading and the waiting for them; `residency` decides who gets a place.
The engine's host cache is mirrored exactly, so that the engine never evicts an adapter and never
reads one from disk during a step. A resident version's leases do not queue behind others: fair
turns between busy adapters are the admission's work, not the registry's. Refused: a retired
version, and a file that was not verified.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from adapters_registry.cache import DiskCache
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    AdapterRetired,
)
from adapters_registry.host import AdapterHost
from adapters_registry.residency import Fetched, Phase, Residency, Residents, Stay
from adapters_registry.tasks import SharedTasks
from adapters_registry.types import AdapterVersion, Digest, Lease, LoadedAdapter, Tier

OnLoad = Callable[[AdapterVersion, Tier, float], None]
"""Told of each load: where the weights were, and seconds of fetch and load. It must not raise."""

_AT_HAND = Fetched(Tier.ENGINE, 0.0)
_engine_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class RegistryStats:
    """A snapshot for metrics. `residents` has an entry for each base model."""

    residents: Mapping[str, Residents]
    cache_bytes: int


class AdapterRegistry:
    """The adapters of this process's engines. `cache` is open, and the registry's alone."""

    def __init__(
        self,
        cache: DiskCache,
        hosts: Mapping[str, AdapterHost],
        *,
        wait_seconds: float,
        on_load: OnLoad | None = None,
    ) -> None:
        self._cache = cache
        self._hosts = hosts
        self._wait_seconds = wait_seconds
        self._on_load = on_load
        self._residencies = {model: self._new_residency(host) for model, host in hosts.items()}
        self._retired: set[AdapterVersion] = set()
        self._tasks = SharedTasks()
        self._is_closed = False

    @asynccontextmanager
    async def lease(self, version: AdapterVersion) -> AsyncIterator[Lease]:
        """Have the version loaded, and keep it loaded and on disk until the block ends.

        Concurrent first leases share one fetch and one load, and one of them may be cancelled
        without the others. Once the files are on disk it waits `wait_seconds` at most for a
        place in the engine, first come first served; how long fetch and load may take is for the
        store and the engine to bound.

        **Raises:** KeyError for a base model without adapters; AdapterRetired; ObjectNotFound,
        ObjectCorrupt, StoreUnavailable; AdapterLoadFailed; AdapterCapacityExceeded; what the host
        raised, where it could not unload another adapter or broke off a load.
        """
        begun = perf_counter()
        self._refuse(version)
        if self._residencies[version.base_model].find(version) is None:
            fetched = await self._fetched(version)
        else:
            fetched = _AT_HAND
        residency = self._residencies[version.base_model]
        stay = residency.join(version, fetched)
        try:
            tier = Tier.ENGINE if stay.phase is Phase.LOADED else stay.fetched.tier
            yield Lease(await self._loaded(stay), tier, perf_counter() - begun)
        finally:
            residency.leave(stay)

    async def retire(self, version: AdapterVersion) -> None:
        """Give no new lease, and return once the version is in neither the engine nor the cache.

        Running leases finish first; those who wait for one get AdapterRetired. Repeatable, also
        after an error; cancelling the caller does not stop it. The version stays refused until
        `reinstate`. A cache entry that another process uses is left to that process.

        **Raises:** what the host raised when it could not unload the adapter.
        """
        self._require_open()
        self._retired.add(version)
        task = self._tasks.begin(("retire", version), partial(self._retire, version))
        await asyncio.wait([task])
        self._require_open()
        task.result()

    async def reinstate(self, version: AdapterVersion) -> None:
        """Allow leases again, once a running `retire` is through; without one, do nothing.

        For content that was registered again. To never serve deleted weights, first commit a
        deletion, then retire; and reinstate only after AdapterRetired was raised and the
        database, read since, says that the version is served.
        """
        if retiring := self._tasks.find(("retire", version)):
            await asyncio.wait(retiring)
        self._retired.discard(version)

    async def forget(self, base_model: str) -> None:
        """Take note that the base model's engine was replaced by one that knows no adapter.

        To be called before the new engine is used. Loads under way are cancelled; who waits for
        one gets AdapterLoadFailed. Leases still held are of the old engine.
        """
        residency = self._residencies[base_model]
        while work := [(do, stay) for stay in residency.holders() for do in ("load", "unload")]:
            if not await self._tasks.cancel(*work):
                break
        _release(residency)
        residency.abandon()
        self._residencies[base_model] = self._new_residency(self._hosts[base_model])

    def stats(self) -> RegistryStats:
        """Return a snapshot for metrics."""
        residents = {name: each.snapshot() for name, each in self._residencies.items()}
        return RegistryStats(residents, self._cache.used_bytes)

    async def close(self) -> None:
        """Cancel what is under way and unpin the cache; the engines and the disk stay as they are.

        To be called when no lease is held. Later leases raise AdapterCapacityExceeded.
        """
        self._is_closed = True
        await self._tasks.close()
        for residency in self._residencies.values():
            _release(residency)
            residency.abandon()

    def _new_residency(self, host: AdapterHost) -> Residency:
        def admit(stay: Stay) -> None:
            self._tasks.begin(("load", stay), partial(self._load, host, residency, stay))

        def evict(stay: Stay) -> None:
            self._tasks.begin(("unload", stay), partial(self._unload, host, residency, stay))

        residency = Residency(host.capacity, admit=admit, evict=evict)
        return residency

    def _require_open(self) -> None:
        if self._is_closed:
            raise AdapterCapacityExceeded("the registry is closed")

    def _refuse(self, version: AdapterVersion) -> None:
        self._require_open()
        if version in self._retired:
            raise AdapterRetired(version.digest)

    async def _fetched(self, version: AdapterVersion) -> Fetched:
        digest = version.digest
        task = self._tasks.begin(("fetch", digest), partial(self._fetch, digest))
        await asyncio.wait([task])
        self._refuse(version)
        return task.result()

    async def _fetch(self, digest: Digest) -> Fetched:
        """Have the artifact on disk. Not pinned: those who wait for a place hold no bytes."""
        begun = perf_counter()
        pin = await self._cache.fetch(digest)
        pin.release()
        return Fetched(pin.tier, perf_counter() - begun)

    async def _loaded(self, stay: Stay) -> LoadedAdapter:
        if not stay.has_place.is_set():
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await stay.has_place.wait()
            except TimeoutError:
                raise AdapterCapacityExceeded("every engine place is leased") from None
        await stay.settled.wait()
        self._refuse(stay.version)
        if stay.error is not None:
            raise stay.error
        assert stay.adapter is not None, "settled without an error"
        return stay.adapter

    async def _load(self, host: AdapterHost, residency: Residency, stay: Stay) -> None:
        begun = perf_counter()
        adapter = None
        try:
            stay.pin = await self._cache.fetch(stay.version.digest)
            adapter = LoadedAdapter(stay.version, next(_engine_ids), stay.pin.path)
            await host.load(adapter)
        except BaseException as error:
            if adapter is None or isinstance(error, AdapterLoadFailed):
                _unpin(stay)
                residency.failed(stay, _reason(stay, error))
            else:
                residency.unsure(stay, adapter, _reason(stay, error))
            raise
        residency.loaded(stay, adapter)
        if self._on_load is not None:
            seconds = stay.fetched.seconds + perf_counter() - begun
            self._on_load(stay.version, stay.fetched.tier, seconds)

    async def _unload(self, host: AdapterHost, residency: Residency, stay: Stay) -> None:
        assert stay.adapter is not None, "only what was loaded is unloaded"
        try:
            await host.unload(stay.adapter)
        except BaseException as error:
            residency.stuck(stay, _reason(stay, error))
            raise
        _unpin(stay)
        residency.departed(stay)

    async def _retire(self, version: AdapterVersion) -> None:
        residency = self._residencies[version.base_model]
        residency.retire(version)
        while (stay := residency.occupant(version)) is not None:
            await stay.left.wait()
            if stay.phase is Phase.LEAVING and stay.error is not None:
                raise stay.error
        if fetching := self._tasks.find(("fetch", version.digest)):
            await asyncio.wait(fetching)
        await self._cache.remove(version.digest)


def _reason(stay: Stay, error: BaseException) -> BaseException:
    """Return what others are told: a cancellation is the task's own affair."""
    if isinstance(error, asyncio.CancelledError):
        return AdapterLoadFailed(stay.version.digest)
    return error


def _unpin(stay: Stay) -> None:
    if stay.pin is not None:
        stay.pin.release()


def _release(residency: Residency) -> None:
    for stay in residency.holders():
        _unpin(stay)
