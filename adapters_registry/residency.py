"""The bookkeeping of one engine's adapter places: who holds one, who uses it, whose turn it is.

Pure and synchronous: it decides, its owner does the work and reports back. A stay is one visit of a
version: waiting -> loading -> loaded -> leaving -> over. From loading to leaving it holds a place.
Refused: more holders than places, so that the engine never evicts by itself; and two holders of one
version, as engines tell adapters apart by name.
"""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from adapters_registry.cache import Pin
from adapters_registry.errors import EngineReplaced
from adapters_registry.types import AdapterVersion, LoadedAdapter, Tier

_rests = itertools.count()


class Phase(Enum):
    """How far a stay has come."""

    WAITING = auto()
    LOADING = auto()
    LOADED = auto()
    LEAVING = auto()
    OVER = auto()


class Fetched(NamedTuple):
    """Where the weights were found, and how long it took to have them on disk."""

    tier: Tier
    seconds: float


@dataclass(eq=False, slots=True)
class Stay:
    """One version's visit to the engine. `users` are leases and those who wait for one."""

    version: AdapterVersion
    fetched: Fetched
    users: int = 0
    phase: Phase = Phase.WAITING
    adapter: LoadedAdapter | None = None
    pin: Pin | None = None
    rested: int = 0
    """The higher, the later it became idle, among the stays of all engines."""
    error: BaseException | None = None
    """Why it never loaded, or why it could not leave."""
    has_place: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it no longer waits: it has a place, or never will."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is loaded or over."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once it is over, or its last attempt to leave has failed."""


@dataclass(frozen=True, slots=True)
class Residents:
    """A snapshot of one engine's places, in numbers of adapters."""

    capacity: int
    resident: int
    """Known to the engine, or being loaded or unloaded."""
    leased: int
    waiting: int


class Residency:
    """At most `capacity` stays hold a place; the least recently used idle one makes room.

    `admit` must start loading the stay and report `loaded` or `failed`; `evict` must start
    unloading and report `departed` or `stuck`. Both are called synchronously.
    """

    def __init__(
        self, capacity: int, *, admit: Callable[[Stay], None], evict: Callable[[Stay], None]
    ) -> None:
        self._capacity = capacity
        self._admit = admit
        self._evict = evict
        self._queue: dict[AdapterVersion, Stay] = {}  # waiting, first come first
        self._present: dict[AdapterVersion, Stay] = {}  # loading or loaded
        self._idle: dict[AdapterVersion, Stay] = {}  # loaded without users, least recent first
        self._leaving: dict[AdapterVersion, Stay] = {}  # being unloaded
        self._stuck: dict[AdapterVersion, Stay] = {}  # could not be unloaded: tried again first

    def find(self, version: AdapterVersion) -> Stay | None:
        """Return the stay that a new user of the version would share."""
        return self._present.get(version) or self._queue.get(version)

    def departing(self, version: AdapterVersion) -> Stay | None:
        """Return the stay that is being unloaded, or could not be."""
        return self._leaving.get(version) or self._stuck.get(version)

    def join(self, version: AdapterVersion, fetched: Fetched) -> Stay:
        """Add a user. `fetched` is remembered if this begins the stay."""
        stay = self.find(version)
        if stay is None:
            stay = self._queue[version] = Stay(version, fetched)
        stay.users += 1
        self._idle.pop(version, None)
        self._advance()
        return stay

    def leave(self, stay: Stay) -> None:
        """Take a user away. Without users, a waiting stay ends and a loaded one is idle."""
        stay.users -= 1
        if stay.users == 0:
            if stay.phase is Phase.WAITING:
                del self._queue[stay.version]
                self._end(stay)
            self._rest(stay)
        self._advance()

    def loaded(self, stay: Stay, adapter: LoadedAdapter) -> None:
        """Report that the engine knows the adapter."""
        stay.adapter = adapter
        stay.phase = Phase.LOADED
        stay.settled.set()
        self._rest(stay)
        self._advance()

    def failed(self, stay: Stay, error: BaseException) -> None:
        """Report that the engine does not know the adapter, and never did."""
        stay.error = error
        del self._present[stay.version]
        self._end(stay)
        self._advance()

    def unsure(self, stay: Stay, adapter: LoadedAdapter, error: BaseException) -> None:
        """Report a load that broke off, so that the engine may or may not know the adapter."""
        stay.adapter = adapter
        stay.error = error
        stay.settled.set()
        del self._present[stay.version]
        self.stuck(stay, error)

    def dismiss(self, version: AdapterVersion) -> None:
        """End the version's stay unless it is used or wanted; try again where it is stuck."""
        stay = self._idle.get(version) or self._stuck.pop(version, None)
        if stay is not None:
            self._expel(stay)

    def departed(self, stay: Stay) -> None:
        """Report that the engine no longer knows the adapter."""
        del self._leaving[stay.version]
        self._end(stay)
        self._advance()

    def stuck(self, stay: Stay, error: BaseException) -> None:
        """Report that the engine may still know the adapter. Who waits for a place fails too."""
        self._leaving.pop(stay.version, None)
        stay.phase = Phase.LEAVING
        self._stuck[stay.version] = stay
        stay.error = error
        stay.left.set()
        for waiting in self._queue.values():
            waiting.error = error
            self._end(waiting)
        self._queue.clear()

    def abandon(self) -> None:
        """End every stay: the engine that held them is gone. Nothing may be under way."""
        for stay in [*self._queue.values(), *self.holders()]:
            stay.error = EngineReplaced(stay.version.digest)
            self._end(stay)
        for stays in (self._queue, self._present, self._idle, self._leaving, self._stuck):
            stays.clear()

    def holders(self) -> list[Stay]:
        """Return the stays that hold a place."""
        return [*self._present.values(), *self._leaving.values(), *self._stuck.values()]

    def unused(self) -> list[Stay]:
        """Return the stays that keep files on disk and are of use to nobody now."""
        return [
            stay
            for stay in self.holders()
            if stay.pin is not None and (stay.users == 0 or stay.phase is Phase.LEAVING)
        ]

    def snapshot(self) -> Residents:
        """Count the places."""
        holders = self.holders()
        return Residents(
            capacity=self._capacity,
            resident=len(holders),
            leased=sum(stay.users > 0 for stay in holders),
            waiting=sum(stay.users for stay in self._queue.values()),
        )

    def _advance(self) -> None:
        """Give free places to the front of the queue, then make as many free as still wait."""
        while self._queue:
            version, stay = next(iter(self._queue.items()))
            if (stuck := self._stuck.pop(version, None)) is not None:
                self._expel(stuck)
            if version in self._leaving or self._free_places() == 0:
                break
            del self._queue[version]
            stay.phase = Phase.LOADING
            stay.has_place.set()
            self._present[version] = stay
            self._admit(stay)
        while len(self._queue) > len(self._leaving) + self._free_places():
            if not (pool := self._stuck or self._idle):
                break
            self._expel(pool.pop(next(iter(pool))))

    def _free_places(self) -> int:
        held = len(self._present) + len(self._leaving) + len(self._stuck)
        return self._capacity - held

    def _rest(self, stay: Stay) -> None:
        if stay.users == 0 and stay.phase is Phase.LOADED:
            stay.rested = next(_rests)
            self._idle[stay.version] = stay

    def _expel(self, stay: Stay) -> None:
        self._present.pop(stay.version, None)
        self._idle.pop(stay.version, None)
        self._leaving[stay.version] = stay
        stay.phase = Phase.LEAVING
        stay.left.clear()
        self._evict(stay)

    def _end(self, stay: Stay) -> None:
        stay.phase = Phase.OVER
        stay.has_place.set()
        stay.settled.set()
        stay.left.set()
