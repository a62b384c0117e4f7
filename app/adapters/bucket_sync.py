"""Rounds of the bucket sync: list the bucket, compare with the database, act.

A replica handles the base models that it serves with adapters; one replica at a time works on each.
One adapter that fails holds up no other, and no base model another in the same round. A directory
that leads to no adapter which is to be served here is counted and left alone. A bucket without a
single object is taken for one that is not there, and nothing is retired.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from time import perf_counter

import structlog
from sqlalchemy.exc import SQLAlchemyError

from adapters_registry.errors import RegistryError
from adapters_registry.store import ObjectStore, check_prefix
from adapters_registry.sync import (
    UNFIT,
    Action,
    Directory,
    Publish,
    Retire,
    directories,
    place_of,
)
from app.adapters import bucket_repository
from app.adapters.bucket_actions import BucketActions, BucketAdapter, Outcome
from app.adapters.bucket_memory import BucketMemory
from app.adapters.bucket_repository import Known
from app.adapters.names import Alias
from app.db.engine import Database
from app.db.locks import try_lock
from app.engine.base import Engine, EngineError

log = structlog.get_logger()

PARALLEL = 2
"""Actions at once for each base model."""
ACTION_SECONDS = 900.0
"""An engine that hangs must not keep the lock, and all other adapters waiting, for ever."""
SHOWN = 10
TRANSIENT = (RegistryError, EngineError, SQLAlchemyError, OSError)


class Status(StrEnum):
    """What a directory is after a round.

    WAITING: half-written, or not yet acted upon. DELETED: what was published from it was deleted
    through the API since.
    """

    READY = "ready"
    FAILED = "failed"
    WAITING = "waiting"
    DELETED = "deleted"


class Ignored(StrEnum):
    """Why a directory is left alone.

    PATH: it is not `<org>/<base model>/<name>`. ORGANIZATION: there is none of this id or name.
    DUPLICATE: the same adapter lies under its organisation's other name too. BASE_MODEL: this
    process does not serve it with adapters; another may. BUCKET_EMPTY: it was there before, and now
    the bucket does not show a single object.
    """

    PATH = "path"
    ORGANIZATION = "organization"
    DUPLICATE = "duplicate"
    BASE_MODEL = "base_model"
    BUCKET_EMPTY = "bucket_empty"


@dataclass(slots=True)
class SyncStats:
    """What this replica's rounds came to.

    `adapters` is by base model and `ignored` by reason, as last seen; `outcomes`, `rounds` and
    `round_seconds` are sums since the start. `finished_at` (Unix s) is the end of the last round:
    one that left an adapter for the next time counts, one that could not read the bucket or the
    database does not.
    """

    adapters: dict[str, Counter[Status]] = field(default_factory=dict)
    ignored: Counter[Ignored] = field(default_factory=Counter)
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    rounds: int = 0
    round_seconds: float = 0.0
    finished_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Listing:
    """The bucket's directories, those that lead to an adapter and the others, by source."""

    adapters: Mapping[str, BucketAdapter]
    ignored: Mapping[str, Ignored]

    def of(self, base_model: str) -> list[BucketAdapter]:
        return [a for a in self.adapters.values() if a.alias.base_model == base_model]

    def marks(self, base_model: str) -> dict[str, str]:
        """Return the marks by source; what is ignored is there, but not to be acted upon."""
        marks = dict.fromkeys(self.ignored, UNFIT)
        return marks | {adapter.source: adapter.mark for adapter in self.of(base_model)}


class BucketSync:
    """One replica's part in the sync of everything below `prefix`, which ends in `/`.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        actions: BucketActions,
        engines: Mapping[str, Engine],
        *,
        prefix: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._store = store
        self._actions = actions
        self._engines = {id: engine for id, engine in engines.items() if engine.adapters}
        self._prefix = check_prefix(prefix)
        self._clock = clock
        self._memories: defaultdict[str, BucketMemory] = defaultdict(BucketMemory)
        self._ignored: Mapping[str, Ignored] = {}
        self._stats = SyncStats()

    @property
    def stats(self) -> SyncStats:
        """Numbers for metrics; they go on counting."""
        return self._stats

    async def run_round(self) -> None:
        """Act upon what is as this replica's last round saw it; returns when all is done.

        Base models that another replica works on, or whose engine is dead here, are left out.
        Cancelling stops between any two steps. **Raises:** StoreError, SQLAlchemyError, OSError,
        when nothing was done.
        """
        begun = perf_counter()
        async with AsyncExitStack() as stack:
            held = [(id, lock) for id in self._engines if (lock := await self._claim(stack, id))]
            if not held:
                return
            listing, known = await self._look([id for id, _ in held])
            self._note_ignored(listing.ignored)
            async with asyncio.TaskGroup() as group:
                for base_model, lock in held:
                    group.create_task(self._follow(base_model, lock, listing, known))
        self._stats.rounds += 1
        self._stats.round_seconds += perf_counter() - begun
        self._stats.finished_at = time.time()

    async def _claim(self, stack: AsyncExitStack, base_model: str) -> AsyncExitStack | None:
        """Return what holds the lock until it is closed, at the latest with the stack."""
        try:
            await self._engines[base_model].check()
        except EngineError:
            return None
        lock = await stack.enter_async_context(AsyncExitStack())
        name = f"bucket sync of {base_model}"
        return lock if await lock.enter_async_context(try_lock(self._database, name)) else None

    async def _look(self, held: Collection[str]) -> tuple[_Listing, Mapping[str, Known]]:
        infos = [info async for info in self._store.list(self._prefix)]
        listed = directories(infos)
        places = (place_of(found.source, self._prefix) for found in listed)
        references = {place.org for place in places if place and place.base_model in self._engines}
        async with self._database.sessions() as session:
            organizations = await bucket_repository.organizations(session, references)
            known = await bucket_repository.known(session, held)
        # What lies elsewhere was synced under another prefix; it stays as it is.
        known = {source: k for source, k in known.items() if source.startswith(self._prefix)}
        if not infos:
            return _Listing({}, dict.fromkeys(known, Ignored.BUCKET_EMPTY)), known
        # Of two directories for one adapter the known one counts, then a whole one.
        listed.sort(key=lambda found: (found.source not in known, found.mark == UNFIT))
        return self._sort(listed, organizations), known

    def _sort(self, listed: Sequence[Directory], organizations: Mapping[str, str]) -> _Listing:
        """Tell adapters from the rest; of two directories for one adapter the first counts."""
        adapters: dict[Alias, BucketAdapter] = {}
        ignored: dict[str, Ignored] = {}
        for found in listed:
            place = place_of(found.source, self._prefix)
            if place is None:
                ignored[found.source] = Ignored.PATH
            elif (engine := self._engines.get(place.base_model)) is None:
                ignored[found.source] = Ignored.BASE_MODEL
            elif (org_id := organizations.get(place.org)) is None:
                ignored[found.source] = Ignored.ORGANIZATION
            elif (alias := Alias(place.base_model, org_id, place.name)) in adapters:
                ignored[found.source] = Ignored.DUPLICATE
            else:
                adapters[alias] = BucketAdapter(
                    found.source, found.mark, found.size_bytes, alias, engine
                )
        return _Listing({adapter.source: adapter for adapter in adapters.values()}, ignored)

    async def _follow(
        self,
        base_model: str,
        lock: AsyncExitStack,
        listing: _Listing,
        known: Mapping[str, Known],
    ) -> None:
        """Do one base model's part of the round, then let go of its lock."""
        async with lock:
            memory = self._memories[base_model]
            actions = memory.plan(
                listing.marks(base_model),
                {source: k for source, k in known.items() if k.base_model == base_model},
                at=self._clock(),
            )
            outcomes = await self._act(actions, listing)
            memory.note(outcomes)
        self._count(base_model, listing, known, outcomes)

    async def _act(self, actions: Sequence[Action], listing: _Listing) -> Mapping[Action, Outcome]:
        outcomes: dict[Action, Outcome] = {}
        places = asyncio.Semaphore(PARALLEL)

        async def act(action: Action) -> None:
            async with places:
                outcomes[action] = await self._attempt(action, listing)

        for action in actions:
            if isinstance(action, Retire):
                await act(action)
        async with asyncio.TaskGroup() as group:
            for action in actions:
                if isinstance(action, Publish):
                    group.create_task(act(action))
        return outcomes

    async def _attempt(self, action: Action, listing: _Listing) -> Outcome:
        logger = log.bind(source=action.source)
        try:
            async with asyncio.timeout(ACTION_SECONDS):
                if isinstance(action, Retire):
                    outcome = await self._actions.retire(action.source)
                else:
                    outcome = await self._actions.publish(listing.adapters[action.source])
        except TRANSIENT as error:
            logger.warning("bucket adapter put off", error=type(error).__name__)
            return Outcome.FAILED
        except Exception:
            # Whatever one adapter brings about, the others are not to suffer from it.
            logger.exception("bucket adapter put off")
            return Outcome.FAILED
        logger.info("bucket adapter acted upon", outcome=outcome)
        return outcome

    def _note_ignored(self, ignored: Mapping[str, Ignored]) -> None:
        """Log what is newly ignored; what another pool of replicas may serve is only counted."""
        fresh = [source for source in ignored if self._ignored.get(source) != ignored[source]]
        for reason in Ignored:
            sources = [source for source in fresh if ignored[source] is reason]
            if sources and reason is not Ignored.BASE_MODEL:
                examples = sources[:SHOWN]
                log.warning(
                    "bucket directories ignored",
                    reason=reason,
                    count=len(sources),
                    examples=examples,
                )
        self._ignored = ignored
        self._stats.ignored = Counter(ignored.values())

    def _count(
        self,
        base_model: str,
        listing: _Listing,
        known: Mapping[str, Known],
        outcomes: Mapping[Action, Outcome],
    ) -> None:
        self._stats.outcomes.update(outcomes.values())
        self._stats.adapters[base_model] = Counter(
            _status(
                adapter,
                known.get(adapter.source),
                outcomes.get(Publish(adapter.source, adapter.mark)),
            )
            for adapter in listing.of(base_model)
        )


def _status(adapter: BucketAdapter, known: Known | None, outcome: Outcome | None) -> Status:
    if outcome in (Outcome.PUBLISHED, Outcome.REFUSED):
        return Status.READY if outcome is Outcome.PUBLISHED else Status.FAILED
    if known is None or known.applied != adapter.mark:
        return Status.WAITING
    if known.code is not None:
        return Status.FAILED
    return Status.READY if known.is_served else Status.DELETED
