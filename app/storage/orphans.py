"""Removes objects that no row needs: what a crash between the store and the database left behind.

An object goes when its id is older than the grace, two sweeps of this process have found it without
a row, and the store belongs to this database: so neither a clock that is wrong, nor a slow upload,
nor a server with the wrong database loses anything. What is no id of the kind is left alone.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import StoreError
from adapters_registry.store import ObjectStore
from app.ids import Prefix, made_at
from app.storage.ownership import StoreOwnership

log = structlog.get_logger()

MAX_IDS = 500
"""Ids of one query."""
MAX_SUSPECTS = 50_000
"""Ids of a kind that are remembered for the next sweep; more wait for the one after it."""
MAX_FAILURES = 10
"""Objects that cannot be removed do not protect the others, but a store that is down is let be."""


class ForeignStore(Exception):
    """The object store belongs to another database: nothing in it may be removed."""


class SweepObserver(Protocol):
    """Is told how many things of a kind were removed because nothing needs them any more."""

    def swept(self, kind: str, count: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """The objects below `prefix` whose next part is an id of `id_prefix`.

    `needed` returns those of some ids that a row needs, or will need: an id that it has left out
    twice, an hour apart, must never be needed again. `remove` deletes all objects of one id, of
    which some may be gone. `name` is for people.
    """

    name: str
    prefix: str
    id_prefix: Prefix
    needed: Callable[[AsyncSession, Collection[str]], Awaitable[set[str]]]
    remove: Callable[[ObjectStore, str], Awaitable[None]]


class OrphanSweep:
    """One process's sweeps of some kinds of objects; any number of replicas may sweep at once."""

    def __init__(
        self,
        sessions: async_sessionmaker[AsyncSession],
        store: ObjectStore,
        ownership: StoreOwnership,
        observer: SweepObserver,
        kinds: Sequence[ObjectKind],
        *,
        grace_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sessions = sessions
        self._store = store
        self._ownership = ownership
        self._observer = observer
        self._suspects: dict[ObjectKind, set[str]] = {kind: set() for kind in kinds}
        self._grace_seconds = grace_seconds
        self._clock = clock

    async def sweep(self) -> None:
        """Remove the orphans that the last sweep saw too, remember the others; tidy the store.

        **Raises:** ForeignStore, before anything is removed; StoreError, once the rest is done.
        """
        if not await self._ownership.is_ours():
            raise ForeignStore("the object store has the mark of another database")
        failures: list[StoreError] = []
        for kind in self._suspects:
            await self._sweep_kind(kind, failures)
        await self._store.tidy(self._grace_seconds)
        if failures:
            raise failures[0]

    async def _sweep_kind(self, kind: ObjectKind, failures: list[StoreError]) -> None:
        seen, left = self._suspects[kind], set[str]()
        async with aclosing(self._aged(kind)) as pages:
            async for ids in pages:
                async with self._sessions() as session:
                    orphans = set(ids) - await kind.needed(session, ids)
                for id in sorted(orphans):
                    is_gone = id in seen and await self._remove(kind, id, failures)
                    if not is_gone and len(left) < MAX_SUSPECTS:
                        left.add(id)
        self._suspects[kind] = left

    async def _aged(self, kind: ObjectKind) -> AsyncGenerator[Sequence[str], None]:
        """Yield the ids that are old enough, in pages; those of one id lie side by side."""
        oldest = self._clock() - self._grace_seconds
        latest, page = "", list[str]()
        async for info in self._store.list(kind.prefix):
            id = info.key.removeprefix(kind.prefix).split("/", 1)[0]
            if id == latest:
                continue
            latest = id
            made = made_at(id, kind.id_prefix)
            if made is not None and made < oldest:
                page.append(id)
            if len(page) == MAX_IDS:
                yield page
                page = []
        if page:
            yield page

    async def _remove(self, kind: ObjectKind, id: str, failures: list[StoreError]) -> bool:
        try:
            await kind.remove(self._store, id)
        except StoreError as error:
            failures.append(error)
            if len(failures) == MAX_FAILURES:
                raise
            return False
        self._observer.swept(kind.name, 1)
        log.info("orphan removed", kind=kind.name, id=id)
        return True
