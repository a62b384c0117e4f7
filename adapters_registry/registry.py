"""Leases of adapters: a version in use is loaded in its engine and whole on disk.

Owns fetching, loading, unloading and the waiting for them; `turns` decides whose requests run,
`residency` who holds a place in the engine. The engine's host cache is mirrored exactly, so that
the engine never evicts an adapter and never reads one from disk during a step. Which versions
exist is not its business: its callers ask the database first. Refused: a file that was not
verified.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from adapters_registry.cache import DiskCache
from adapters_registry.errors import (
    AdapterCapacityExceeded,
    AdapterLoadFailed,
    EngineReplaced,
    ObjectNotFound,
)
from adapters_registry.host import AdapterHost
from adapters_registry.residency import Fetched, Phase, Residency, Residents, Stay
from adapters_registry.tasks import SharedTasks
from adapters_registry.turns import Turns, TurnStats
from adapters_registry.types import AdapterVersion, Digest, Lease, LoadedAdapter, Tier
from adapters_registry.uses import Uses

OnLoad = Callable[[AdapterVersion, Tier, float], None]
"""Told of each load: where the weights were, and seconds of fetch and load. It must not raise."""

_AT_HAND = Fetched(Tier.ENGINE, 0.0)
_LATER = Fetched(Tier.DISK, 0.0)
_NO_TURN = "its turn did not come in time"
_engine_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class HostStats:
    """One engine's adapters in numbers."""

    residents: Residents
    turns: TurnStats
    pinned: int


@dataclass(frozen=True, slots=True)
class RegistryStats:
    """A snapshot for metrics. `hosts` has an entry for each base model."""

    hosts: Mapping[str, HostStats]
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
        self._turns = {model: _new_turns(host) for model, host in hosts.items()}
        self._uses = Uses()
        self._pins: dict[AdapterVersion, Stay] = {}
        self._pinning = asyncio.Lock()
        self._tasks = SharedTasks()
        self._is_closed = False
        cache.unpin_with(self._idle, self._give_up)

    @asynccontextmanager
    async def lease(
        self,
        version: AdapterVersion,
        *,
        wait_seconds: float | None = None,
        gives_way: bool = False,
    ) -> AsyncIterator[Lease]:
        """Have the version loaded, and keep it loaded and on disk until the block ends.

        Concurrent first leases share one fetch and one load, and one of them may be cancelled
        without the others. Turn, fairly among adapters, and place have the registry's seconds, the
        turn `wait_seconds` at most: with 0, nothing is fetched where no turn is free. Who
        `gives_way` to others may have all turns of an adapter that are free. Fetch, load and unload
        are for the store and the engine to bound. While the disk is full of adapters in use, it is
        fetched in its turn.

        **Raises:** KeyError for a base model without adapters; ObjectNotFound, ObjectCorrupt,
        StoreUnavailable; AdapterLoadFailed; AdapterCapacityExceeded; what the host raised, where
        it could not unload another adapter or broke off a load.
        """
        begun = perf_counter()
        self._require_open()
        with self._uses.of(version):
            turns = self._turns[version.base_model]
            if wait_seconds == 0 and not turns.is_free(version, gives_way=gives_way):
                raise AdapterCapacityExceeded(_NO_TURN)
            fetched = self._at_hand(version) or await self._on_disk(version)
            turns.join(turn := turns.take(version, gives_way=gives_way))
            try:
                seconds = self._wait_seconds
                if turn.granted is not None:
                    most = seconds if wait_seconds is None else min(wait_seconds, seconds)
                    seconds -= await self._in_time(turn.granted, most, _NO_TURN)
                    if fetched is _AT_HAND:  # the stay may have ended in the meantime
                        fetched = self._at_hand(version) or await self._on_disk(version)
                stay, tier = await self._joined(version, fetched, seconds)
                try:
                    assert stay.adapter is not None, "it is loaded"
                    yield Lease(stay.adapter, tier, perf_counter() - begun)
                finally:
                    self._residencies[version.base_model].leave(stay)
            finally:
                turns.leave(turn)

    async def pin(self, version: AdapterVersion) -> None:
        """Have the version loaded and keep it so until `unpin`; again does nothing.

        A pin takes a place in the engine's host memory and no turn. So many places as the engine
        has slots are never pinned, so that every adapter can still have its turn.

        **Raises:** AdapterCapacityExceeded where all other places are pinned; as `lease`.
        """
        async with self._pinning:  # one after the other, so that they are counted right
            self._require_open()
            if version in self._pins:
                return
            host = self._hosts[version.base_model]
            if self._pinned(version.base_model) >= host.capacity - host.slots:
                raise AdapterCapacityExceeded("as many adapters are pinned as may be")
            with self._uses.of(version):
                fetched = self._at_hand(version) or await self._on_disk(version)
                self._pins[version], _ = await self._joined(version, fetched, self._wait_seconds)

    def unpin(self, version: AdapterVersion) -> None:
        """End a pin; without one, do nothing. The version stays loaded until others need room."""
        if (stay := self._pins.pop(version, None)) is not None:
            self._residencies[version.base_model].leave(stay)

    @property
    def pins(self) -> Collection[AdapterVersion]:
        """The versions that are pinned now."""
        return self._pins.keys()

    def residents(self) -> list[AdapterVersion]:
        """Return the versions that the engines hold."""
        return [s.version for each in self._residencies.values() for s in each.holders()]

    async def discard(self, version: AdapterVersion) -> None:
        """Once nobody uses the version, unpin it, unload it and remove it from the cache.

        For versions that are registered no more. It refuses nobody: who still asks has found it
        before, and gets it. Repeatable, also after an error; cancelling the caller does not stop
        it. A cache entry that another process uses is left to that process.

        **Raises:** what the host raised when it could not unload the adapter.
        """
        self._require_open()
        task = self._tasks.begin(("discard", version), partial(self._discard, version))
        await asyncio.wait([task])
        self._require_open()
        task.result()

    async def forget(self, base_model: str) -> None:
        """Take note that the base model's engine was replaced by one that knows no adapter.

        To be called before the new engine is used. Loads under way are cancelled; who waits for
        one gets EngineReplaced. Leases still held are of the old engine; pins have ended.
        """
        residency = self._residencies[base_model]
        while work := [(do, stay) for stay in residency.holders() for do in ("load", "unload")]:
            if not await self._tasks.cancel(*work):
                break
        _release(residency)
        residency.abandon()
        for version in [pinned for pinned in self._pins if pinned.base_model == base_model]:
            self.unpin(version)

    def stats(self) -> RegistryStats:
        """Return a snapshot for metrics."""
        hosts = {
            model: HostStats(
                residency.snapshot(), self._turns[model].snapshot(), self._pinned(model)
            )
            for model, residency in self._residencies.items()
        }
        return RegistryStats(hosts, self._cache.used_bytes)

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

    def _pinned(self, base_model: str) -> int:
        return sum(version.base_model == base_model for version in self._pins)

    async def _in_time(self, event: asyncio.Event, seconds: float, otherwise: str) -> float:
        """Wait for the event, and return how many of the seconds it took."""
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            raise AdapterCapacityExceeded(otherwise) from None
        self._require_open()
        return min(asyncio.get_running_loop().time() - begun, seconds)

    def _at_hand(self, version: AdapterVersion) -> Fetched | None:
        is_there = self._residencies[version.base_model].find(version) is not None
        return _AT_HAND if is_there else None

    async def _on_disk(self, version: AdapterVersion) -> Fetched:
        name = ("fetch", version.digest, version.stored_as)
        task = self._tasks.begin(name, partial(self._fetch, version))
        await asyncio.wait([task])
        self._require_open()
        return task.result()

    async def _fetch(self, version: AdapterVersion) -> Fetched:
        """Have the artifact on disk. Not pinned: those who wait for a turn hold no bytes."""
        begun = perf_counter()
        try:
            with self._uses.of(version):  # perhaps for nobody any more
                tier = await self._cache.prefetch(version)
        except AdapterCapacityExceeded:
            return _LATER  # in its turn there may be room, as others have then had theirs
        return Fetched(tier, perf_counter() - begun)

    async def _joined(
        self, version: AdapterVersion, fetched: Fetched, seconds: float
    ) -> tuple[Stay, Tier]:
        """Return the version's loaded stay, which the caller is to leave, and where it was."""
        residency = self._residencies[version.base_model]
        while True:
            stay = residency.join(version, fetched)
            if stay.phase is Phase.LOADED:
                return stay, Tier.ENGINE
            try:
                await self._loaded(stay, seconds)
                return stay, stay.fetched.tier
            except BaseException as error:
                residency.leave(stay)
                is_elsewhere = stay.version.stored_as != version.stored_as
                if not (is_elsewhere and isinstance(error, ObjectNotFound)):
                    raise
                fetched = _LATER  # the copy of another registration is gone: now with its own

    async def _loaded(self, stay: Stay, seconds: float) -> None:
        if not stay.has_place.is_set():
            await self._in_time(stay.has_place, seconds, "every engine place is leased")
        await stay.settled.wait()
        self._require_open()
        if stay.error is not None:
            raise stay.error

    async def _load(self, host: AdapterHost, residency: Residency, stay: Stay) -> None:
        begun = perf_counter()
        adapter = None
        try:
            stay.pin = await self._cache.fetch(stay.version)
            if stay.pin.tier is Tier.STORE:
                stay.fetched = stay.fetched._replace(tier=Tier.STORE)
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

    async def _discard(self, version: AdapterVersion) -> None:
        while (rest := self._next_rest(version)) is not None:
            await rest.wait()
        self.unpin(version)
        if (residency := self._residencies.get(version.base_model)) is not None:
            residency.dismiss(version)
            if (stay := residency.departing(version)) is not None:
                await _gone(stay)
        await self._cache.remove(version.digest)

    def _next_rest(self, version: AdapterVersion) -> asyncio.Event | None:
        """Return what ends the present use of the version, or its load for nobody any more."""
        if (end := self._uses.end_of(version)) is not None:
            return end
        if (residency := self._residencies.get(version.base_model)) is None:
            return None
        stay = residency.find(version)
        return None if stay is None or stay.settled.is_set() else stay.settled

    def _idle(self) -> list[Digest]:
        """Return what is on disk for an engine only, and unused: the first is to go first."""
        stays = [stay for each in self._residencies.values() for stay in each.unused()]
        stays.sort(key=lambda stay: (stay.left.is_set(), stay.rested))  # first what can leave
        return [stay.version.digest for stay in stays]

    async def _give_up(self, digests: Collection[Digest]) -> None:
        """Unload those of the idle adapters that nobody uses in the meantime."""
        chosen = [
            (residency, stay)
            for residency in self._residencies.values()
            for stay in residency.unused()
            if stay.version.digest in digests
        ]
        for residency, stay in chosen:
            residency.dismiss(stay.version)
        for residency, stay in chosen:
            await stay.settled.wait()
            if stay.phase is Phase.LOADED:
                residency.dismiss(stay.version)
            if stay.phase is Phase.LEAVING:
                await _gone(stay)


def _new_turns(host: AdapterHost) -> Turns:
    return Turns(
        slots=host.slots, max_running=host.max_running, max_running_each=host.max_running_each
    )


def _reason(stay: Stay, error: BaseException) -> BaseException:
    """Return what others are told: a cancellation is the task's own affair."""
    if isinstance(error, asyncio.CancelledError):
        return EngineReplaced(stay.version.digest)
    return error


async def _gone(stay: Stay) -> None:
    await stay.left.wait()
    if stay.phase is Phase.LEAVING and stay.error is not None:
        raise stay.error


def _unpin(stay: Stay) -> None:
    if stay.pin is not None:
        stay.pin.release()


def _release(residency: Residency) -> None:
    for stay in residency.holders():
        _unpin(stay)
