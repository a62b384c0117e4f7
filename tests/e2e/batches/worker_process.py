"""A batch worker in a process of its own, which tests may kill, stop, or let see another time.

It is opened as the service opens its worker, on a real database and store, and sends each line to a
server over HTTP, so that the engines outlive it. What befalls it is told to a file, line by line.
"""

import asyncio
import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import structlog
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from adapters_registry.directory import DirectoryStore
from adapters_registry.s3 import S3Store
from adapters_registry.store import ObjectStore
from app.batches.types import Endpoints
from app.batches.worker import BEAT
from app.batches_lifespan import open_batches
from app.catalog import Catalog
from app.db.engine import Database
from app.engine.factory import Engines
from app.engine.metrics import EngineMetrics
from app.errors import ApiError
from app.ground import Ground
from app.inference.context import RequestContext
from app.observability.metrics import Metrics
from app.settings import DatabaseSettings, Settings
from tests.e2e.batches.waiting import until
from tests.fixtures.server import TINY

CHAT = "/v1/chat/completions"
LINES = 24
ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class S3At:
    """A part of a bucket, and the environment that boto3 needs for it."""

    endpoint_url: str
    bucket: str
    prefix: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """What a process works on, and what befalls it.

    `settings` are those of batches, unchecked: tests have no time for long leases. No line is asked
    while the file `gate` is there. The line of the user `deadly` kills the process. One that
    `stops_at_write` stops itself when the first results are stored and not yet written down, and
    renews no lease afterwards.
    """

    database_url: str
    store: Path | S3At
    room: Path
    server_url: str
    key: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    gate: Path | None = None
    deadly: str | None = None
    clock_ahead_seconds: float = 0.0
    stops_at_write: bool = False


class Events:
    """What the process tells, each in a line of JSON, and kept whatever becomes of the process."""

    def __init__(self, room: Path) -> None:
        self._file = (room / f"{os.getpid()}.events").open("ab", buffering=0)

    def tell(self, event: str, **details: Any) -> None:
        told = {"event": event, "at": time.monotonic(), **details}
        self._file.write(json.dumps(told).encode() + b"\n")


class ToldMetrics(Metrics):
    """The service's metrics, of which some are told at once."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def batch_lease_lost(self) -> None:
        super().batch_lease_lost()
        self._events.tell("lease lost")

    def batch_chunk_ended(self, model: str, seconds: float) -> None:
        super().batch_chunk_ended(model, seconds)
        self._events.tell("chunk ended")

    def background_failed(self, task: str) -> None:
        super().background_failed(task)
        self._events.tell("failed", task=task)


class Capacity:
    """Room for some lines of the one model that the server has."""

    models = (TINY,)

    def lines(self, model: str) -> int:
        return LINES

    def adapters(self, model: str) -> int:
        return 2

    async def is_up(self, model: str) -> bool:
        return True


class Lines:
    """Sends lines to the server; a line's custom id stands in its body as `user`."""

    def __init__(self, http: httpx.AsyncClient, events: Events, order: Order) -> None:
        self._http = http
        self._events = events
        self._order = order

    async def __call__(
        self, context: RequestContext, body: Mapping[str, Any], *, length: int
    ) -> bytes:
        """Answer as the server does. **Raises:** ApiError."""
        await until(self._may_ask)
        self._events.tell("asked", line=body["user"])
        if body["user"] == self._order.deadly:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            answer = await self._http.post(CHAT, json=dict(body))
        except httpx.HTTPError as error:
            raise ApiError(503, "the server does not answer") from error
        if answer.status_code != httpx.codes.OK:
            raise ApiError(answer.status_code, answer.json()["error"]["message"])
        return answer.content

    async def _may_ask(self) -> bool:
        return self._order.gate is None or not self._order.gate.exists()


class QuietSessions:
    """A database whose process can stop outside of any transaction, and renews no lease then."""

    def __init__(self, sessions: async_sessionmaker[AsyncSession]) -> None:
        self._sessions = sessions
        self._open = 0
        self._has_stopped = False

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[AsyncSession]:
        with self._counted():
            async with self._sessions() as session:
                yield session

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        task = asyncio.current_task()
        if self._has_stopped and task is not None and task.get_name() == BEAT:
            await asyncio.Event().wait()
        with self._counted():
            async with self._sessions.begin() as session:
                yield session

    async def stop_once(self) -> None:
        """Stop the process until it is continued, the first time."""
        await until(self._is_quiet, every_seconds=0)
        if not self._has_stopped:
            self._has_stopped = True
            os.kill(os.getpid(), signal.SIGSTOP)

    async def _is_quiet(self) -> bool:
        return self._open == 0

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


class StopsAfterPart:
    """A store whose process stops when it has stored the first results."""

    def __init__(self, store: ObjectStore, sessions: QuietSessions) -> None:
        self._store = store
        self._sessions = sessions

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def put(self, key: str, source: Path) -> None:
        await self._store.put(key, source)
        if "/parts/" in key:
            await self._sessions.stop_once()


def run(order: Order) -> None:
    """Work until SIGTERM, or until the test's process has ended."""
    if order.clock_ahead_seconds:
        _shift_clock(order.clock_ahead_seconds)
    log = (order.room / f"{os.getpid()}.log").open("w")
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(log),
    )
    asyncio.run(_work(order))


async def _work(order: Order) -> None:
    events = Events(order.room)
    async with AsyncExitStack() as stack:
        ground = _ground(order, events, stack)
        http = httpx.AsyncClient(
            base_url=order.server_url,
            headers={"authorization": f"Bearer {order.key}"},
            timeout=ANSWER_SECONDS,
        )
        lines = Lines(await stack.enter_async_context(http), events, order)
        endpoints: Endpoints = {CHAT: lines}
        ended = _ended()
        await open_batches(ground, endpoints, Capacity(), asyncio.Event(), stack)
        events.tell("started", clock=time.time())
        await ended.wait()


def _ground(order: Order, events: Events, stack: AsyncExitStack) -> Ground:
    settings = Settings()
    options = settings.batches.model_copy(update=dict(order.settings))
    database = Database(order.database_url)
    stack.push_async_callback(database.close)
    store = _open_store(order.store)
    stack.push_async_callback(store.close)
    if order.stops_at_write:
        sessions = QuietSessions(database.sessions)
        database.sessions = cast(Any, sessions)
        store = cast(ObjectStore, StopsAfterPart(store, sessions))
    model = {"id": TINY, "task": "chat", "source": TINY, "max_completion_tokens": 1}
    catalog = Catalog.model_validate({"models": [{**model, "context_window": 1}]})
    work_dir = order.room / f"work-{os.getpid()}"
    work_dir.mkdir()
    # Named, and so shared with other processes.
    shared = DatabaseSettings(url=SecretStr(order.database_url))
    return Ground(
        settings=settings.model_copy(update={"batches": options, "database": shared}),
        catalog=catalog,
        metrics=ToldMetrics(events),
        pepper=b"",
        work_dir=work_dir,
        database=database,
        store=store,
        engines=Engines({}, EngineMetrics(), {}),
    )


def _open_store(place: Path | S3At) -> ObjectStore:
    if isinstance(place, Path):
        return DirectoryStore(place)
    os.environ.update(place.environment)
    return S3Store(place.bucket, prefix=place.prefix, endpoint_url=place.endpoint_url)


def _ended() -> asyncio.Event:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    parent = multiprocessing.parent_process()
    assert parent is not None
    loop.add_reader(parent.sentinel, ended.set)
    return ended


def _shift_clock(seconds: float) -> None:
    """Let the whole process see another time of day; durations stay right."""
    right = time.time
    time.time = lambda: right() + seconds
