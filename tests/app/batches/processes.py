"""Processes of the product in a test's own: each may die or fail at any call to what lies outside.

A process is a real worker over a real store and database. Between them stands `Fate`, which counts
the calls, before and after their effect, and lets the process die there, fail there, or wait.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.errors import StoreUnavailable
from adapters_registry.store import ObjectStore
from adapters_registry.types import ObjectInfo
from app.batches.finalizer import Finalizer
from app.batches.pauses import Pauses
from app.batches.types import Endpoint
from app.batches.validator import Validator
from app.batches.worker import Worker, WorkerPorts
from app.db.engine import Database
from app.errors import ApiError
from app.inference.context import RequestContext
from app.settings import BatchSettings
from app.usage.types import Account, Amounts

URL = "/v1/chat/completions"
BASE = "base"


class Died(BaseException):
    """The process is gone: nothing of it may have an effect any more."""


class Fate:
    """What befalls a process, by the number of the call; each has a point before and one after."""

    def __init__(
        self,
        *,
        dies_at: int | None = None,
        fails_at: range = range(0),
        lies_at: range = range(0),
    ) -> None:
        self.points = 0
        self.reads = 0
        self.died = asyncio.Event()
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.waiting = 0
        self._dies_at = dies_at
        self._fails_at = fails_at
        self._lies_at = lies_at
        self._passes = asyncio.Semaphore(0)

    def die(self) -> None:
        """Let the process be gone from here on."""
        self.died.set()
        self.is_free.set()
        self._passes.release()

    def lies(self) -> bool:
        """Tell whether the store is to give half of what it was asked for, and no word of it."""
        self.reads += 1
        return self.reads in self._lies_at

    def hold(self) -> None:
        """Let the process wait at each point until it may `go_on`."""
        self.is_free.clear()

    def go_on(self) -> None:
        """Let one call that is held pass its point, now or when it comes there."""
        self._passes.release()

    async def point(self, failure: Callable[[], Exception]) -> None:
        self._require_life()
        self.points += 1
        if self.points == self._dies_at:
            self.die()
        if self.points in self._fails_at:
            raise failure()
        if not self.is_free.is_set():
            self.waiting += 1
            try:
                await self._passes.acquire()
            finally:
                self.waiting -= 1
        self._require_life()

    def _require_life(self) -> None:
        if self.died.is_set():
            raise Died


class FatedStore:
    """An object store as a process sees it."""

    def __init__(self, store: ObjectStore, fate: Fate) -> None:
        self._store = store
        self._fate = fate

    async def put(self, key: str, source: Path) -> None:
        await self._around(lambda: self._store.put(key, source))

    async def get(self, key: str, destination: Path) -> None:
        await self._around(lambda: self._store.get(key, destination))
        if self._fate.lies():
            await asyncio.to_thread(_halve, destination)

    async def delete(self, key: str) -> None:
        await self._around(lambda: self._store.delete(key))

    async def read(self, key: str, **options: int) -> AsyncIterator[bytes]:
        await self._fate.point(StoreUnavailable)
        lies = self._fate.lies()
        async for piece in self._store.read(key, **options):
            yield piece[: len(piece) // 2] if lies else piece

    async def list(self, prefix: str) -> AsyncIterator[ObjectInfo]:
        await self._fate.point(StoreUnavailable)
        async for info in self._store.list(prefix):
            yield info

    async def _around(self, call: Callable[[], Awaitable[None]]) -> None:
        await self._fate.point(StoreUnavailable)
        await call()
        await self._fate.point(StoreUnavailable)


class FatedSessions:
    """A database as a process sees it: a transaction may end before its commit, or just after."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession], fate: Fate) -> None:
        self._sessions = sessions
        self._fate = fate

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        await self._fate.point(_database_lost)
        async with self._sessions.begin() as session:
            yield session
            if self._fate.is_free.is_set():  # one that is held would keep others from the database
                await self._fate.point(_database_lost)
        await self._fate.point(_database_lost)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[AsyncSession]:
        await self._fate.point(_database_lost)
        async with self._sessions() as session:
            yield session


def _halve(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _database_lost() -> Exception:
    return OperationalError("SELECT 1", {}, ConnectionResetError())


class Observed:
    """Counts what a worker tells."""

    def __init__(self) -> None:
        self.ended = 0
        self.retried = 0
        self.chunks = 0
        self.lost = 0
        self.begun: set[str] = set()
        self.failures: list[str] = []

    def batch_line_ended(self, url: str, *, is_ok: bool) -> None:
        self.ended += 1

    def batch_line_retried(self, url: str) -> None:
        self.retried += 1

    def batch_chunk_ended(self, model: str, seconds: float) -> None:
        self.chunks += 1

    def batch_lease_lost(self) -> None:
        self.lost += 1

    def background_begun(self, task: str) -> None:
        self.begun.add(task)

    def background_failed(self, task: str) -> None:
        self.failures.append(task)


class FixedCapacity:
    """Room for so many lines and adapters of one model."""

    models = (BASE,)

    def __init__(self, lines: int = 8, adapters: int = 2) -> None:
        self.most_lines = lines
        self.most_adapters = adapters
        self.up = True

    def lines(self, model: str) -> int:
        return self.most_lines

    def adapters(self, model: str) -> int:
        return self.most_adapters

    async def is_up(self, model: str) -> bool:
        return self.up


Act = Callable[[RequestContext, Mapping[str, Any]], Awaitable[bytes]]


async def answer_all(context: RequestContext, body: Mapping[str, Any]) -> bytes:
    """Answer what a body asks for in `do`: a success, a refusal or an internal error."""
    if body.get("do") == "refuse":
        raise ApiError(400, "refused", param="do")
    if body.get("do") == "fail":
        raise RuntimeError("a bug")
    assert context.ledger is not None
    account = Account(context.caller.org_id, context.caller.key_id, str(body["model"]), "", True)
    context.ledger.record(account, Amounts(requests=1))
    return b'{"object":"answer","model":"%s"}' % str(body["model"]).encode()


class Process:
    """One worker and its fate. `act` answers lines; it is not called in a process that is gone."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        work_dir: Path,
        *,
        fate: Fate | None = None,
        act: Act = answer_all,
        capacity: FixedCapacity | None = None,
        **settings: Any,
    ) -> None:
        self.fate = fate or Fate()
        self.act = act
        self.observed = Observed()
        self.capacity = capacity or FixedCapacity()
        self.asked: list[RequestContext] = []
        self.bodies: list[Mapping[str, Any]] = []
        self.running = 0
        self.most_running = 0
        sessions = cast(Any, FatedSessions(database.sessions, self.fate))
        fated = cast(Any, FatedStore(store, self.fate))
        usual = {"chunk_lines": 3, "poll_seconds": 0.01, "checkpoint_seconds": 60}
        options = BatchSettings(**{**usual, **settings})
        ports = WorkerPorts(
            sessions=sessions,
            store=fated,
            work_dir=work_dir,
            endpoints=_Everywhere(self._answer),
            capacity=self.capacity,
            validator=Validator(sessions, fated, work_dir, options, {BASE}),
            finalizer=Finalizer(sessions, fated, work_dir),
            observer=self.observed,
        )
        self.worker = Worker(ports, options, Pauses(0.001, 0.01))

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            yield
        finally:
            self.running -= 1

    async def _answer(
        self, context: RequestContext, body: Mapping[str, Any], *, length: int
    ) -> bytes:
        assert length >= len(json.dumps(body, separators=(",", ":")))
        if self.fate.died.is_set():
            raise Died
        self.asked.append(context)
        self.bodies.append(body)
        with self._counted():
            return await self.act(context, body)

    async def kill(self) -> None:
        """Let the process be gone, without any of its last words."""
        self.fate.die()
        await self.worker.close()


class _Everywhere(dict[str, Endpoint]):
    """Endpoints that are all alike."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__()
        self._endpoint = endpoint

    def __missing__(self, url: str) -> Endpoint:
        return self._endpoint
